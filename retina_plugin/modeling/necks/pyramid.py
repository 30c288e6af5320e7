"""The base class of necks, and the extra levels that RetinaNet adds to the pyramid."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from retina_plugin.config.registry import Registry
from retina_plugin.layers.activations import build_activation
from retina_plugin.layers.norms import Conv2d, build_norm
from retina_plugin.modeling.backbones.feature import Backbone, ShapeSpec

NECK_REGISTRY = Registry(
    "neck",
    node="MODEL.RETINA_PLUGIN.NECK",
    runtime_arguments=("bottom_up",),
    config_arguments={
        "in_features": "MODEL.FPN.IN_FEATURES",
        "num_levels": "MODEL.RETINA_PLUGIN.NECK.LEVELS",
        "out_channels": "MODEL.FPN.OUT_CHANNELS",
        "norm": "MODEL.FPN.NORM",
        "norm_groups": "MODEL.RETINA_PLUGIN.NORM_GROUPS",
        "activation": "MODEL.RETINA_PLUGIN.NECK.ACTIVATION",
        "top_feature": "MODEL.RETINA_PLUGIN.P6_FROM",
        "extra_relu": "MODEL.RETINA_PLUGIN.NECK.EXTRA_RELU",
    },
)


def xavier(layer: Conv2d) -> Conv2d:
    """Initialise a convolution that no ReLU follows, with Caffe2's XavierFill as in Detectron2."""
    nn.init.kaiming_uniform_(layer.weight, a=1)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class ExtraLevels(nn.Module):
    """Computes P6, P7, ... by 3x3 convolutions of stride 2 on C5 or P5 (arXiv 1708.02002, section
    4).

    If ``relu`` is True, there is a ReLU between two of these convolutions.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        in_feature: str,
        levels: Sequence[int],
        relu: bool,
    ) -> None:
        super().__init__()
        self.in_feature, self.levels, self.relu = in_feature, tuple(levels), relu
        for level in levels:
            self.add_module(f"p{level}", xavier(Conv2d(in_channels, out_channels, 3, stride=2)))
            in_channels = out_channels

    def forward(self, x: Tensor) -> list[Tensor]:
        """Compute [(N, C', H / 2, W / 2), (N, C', H / 4, W / 4), ...], rounded up."""
        outputs: list[Tensor] = []
        for level in self.levels:
            if outputs:
                x = F.relu(outputs[-1]) if self.relu else outputs[-1]
            outputs.append(getattr(self, f"p{level}")(x))
        return outputs


class Pyramid(Backbone):
    """Base class of necks.

    It contains the backbone, and computes levels p3, p4, ... of the same width from its maps.
    """

    ACTIVATION = "none"  # the activation in the neck's paper

    activate: nn.Module
    top_block: ExtraLevels  # only if there are extra levels

    def __init__(
        self,
        *,
        bottom_up: Backbone,
        in_features: Sequence[str],
        num_levels: int,
        out_channels: int,
        norm: str,
        norm_groups: int,
        activation: str,
        top_feature: str,
        extra_relu: bool,
    ) -> None:
        """
        Args:
            bottom_up: the backbone.
            in_features: names of the maps to use, finest first, such as res3, res4 and res5; the
                stride must double from map to map.
            num_levels: number of pyramid levels. The first level has the stride of the first map,
                so 5 levels from stride 8 on are P3..P7.
            out_channels: channels of every level; 256 in the papers of FPN and RetinaNet.
            norm, norm_groups: see :func:`retina_plugin.layers.norms.build_norm`.
            activation: a key of :data:`retina_plugin.layers.activations.ACTIVATIONS`, or "paper"
                for the activation in the neck's paper.
            top_feature: input of the first extra level: the last of ``in_features`` ("res5") or the
                level of the same stride ("p5").
            extra_relu: whether there is a ReLU between the convolutions of two extra levels.

        Raises:
            ValueError: if the backbone does not return a map, strides do not double, there are
                fewer levels than maps, or the norm, activation or ``top_feature`` is unknown.
        """
        super().__init__()
        self.bottom_up, self.in_features = bottom_up, tuple(in_features)
        self.out_channels, self.norm, self.norm_groups = out_channels, norm, norm_groups
        shapes = bottom_up.output_shape()
        steps = _levels(shapes, self.in_features)
        if num_levels < len(steps):
            raise ValueError(
                f"MODEL.RETINA_PLUGIN.NECK.LEVELS must be at least {len(steps)}, the number of "
                f"MODEL.FPN.IN_FEATURES, found {num_levels}"
            )
        self.levels = tuple(range(steps[0], steps[0] + num_levels))
        self.in_levels, extra = self.levels[: len(steps)], self.levels[len(steps) :]
        self._shapes = {f"p{level}": ShapeSpec(out_channels, 2**level) for level in self.levels}
        name = self.ACTIVATION if activation == "paper" else activation
        self.activate = build_activation(name, key="MODEL.RETINA_PLUGIN.NECK.ACTIVATION")
        if extra:
            # extra levels from a finer map would have the wrong strides
            allowed = (self.in_features[-1], f"p{self.in_levels[-1]}")
            if top_feature not in allowed:
                raise ValueError(
                    f"MODEL.RETINA_PLUGIN.P6_FROM must be one of {list(allowed)}, "
                    f"found {top_feature!r}"
                )
            width = (shapes | self._shapes)[top_feature].channels
            self.top_block = ExtraLevels(
                in_channels=width,
                out_channels=out_channels,
                in_feature=top_feature,
                levels=extra,
                relu=extra_relu,
            )

    @property
    def size_divisibility(self) -> int:
        """The stride of the coarsest map that the neck takes from the backbone.

        If it divides height and width, upsampled maps have the sizes of the finer maps.
        """
        stride: int = 2 ** self.in_levels[-1]
        return stride

    def convolution(self, in_channels: int, kernel_size: int, *, stride: int = 1) -> Conv2d:
        """Build a convolution to ``out_channels``. It has a bias only if there is no norm."""
        norm = build_norm(
            self.norm, self.out_channels, groups=self.norm_groups, key="MODEL.FPN.NORM"
        )
        return xavier(
            Conv2d(
                in_channels,
                self.out_channels,
                kernel_size,
                stride=stride,
                bias=norm is None,
                norm=norm,
            )
        )

    def add_extra_levels(self, levels: list[Tensor], features: dict[str, Tensor]) -> list[Tensor]:
        """Append the extra levels to ``levels``, computed from ``top_feature``."""
        if len(levels) == len(self.levels):
            return levels
        source = features.get(self.top_block.in_feature, levels[-1])
        extra: list[Tensor] = self.top_block(source)
        return levels + extra


def upsample(x: Tensor) -> Tensor:
    """Upsample (N, C, H, W) to a new tensor (N, C, 2 H, 2 W), by nearest neighbours."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _levels(shapes: dict[str, ShapeSpec], in_features: Sequence[str]) -> list[int]:
    """Return the level of each map; a map of stride 2^l has level l.

    Raises:
        ValueError: if ``in_features`` is empty or names an unknown map, or the strides do not
            double.
    """
    missing = [name for name in in_features if name not in shapes]
    if missing or not in_features:
        raise ValueError(
            f"MODEL.FPN.IN_FEATURES {list(in_features)} must name maps that the backbone returns: "
            f"{list(shapes)}"
        )
    strides = [shapes[name].stride for name in in_features]
    levels = [round(math.log2(stride)) for stride in strides]
    if levels != list(range(levels[0], levels[0] + len(levels))):
        raise ValueError(
            f"strides of MODEL.FPN.IN_FEATURES must double from map to map, found {strides}"
        )
    return levels
