"""What all necks share: the levels of a pyramid, and the two that RetinaNet adds to those of the
backbone."""

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
    },
)


def xavier(layer: Conv2d) -> Conv2d:
    """Initialise a convolution that no ReLU follows, bias 0; the factor is Caffe2's, as in
    Detectron2."""
    nn.init.kaiming_uniform_(layer.weight, a=1)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class ExtraLevels(nn.Module):
    """P6, P7, ...: 3x3 convolutions of stride 2 on C5 (or P5), with a ReLU between them (arXiv
    1708.02002, section 4)."""

    def __init__(
        self, *, in_channels: int, out_channels: int, in_feature: str, levels: Sequence[int]
    ) -> None:
        super().__init__()
        self.in_feature, self.levels = in_feature, tuple(levels)
        for level in levels:
            self.add_module(f"p{level}", xavier(Conv2d(in_channels, out_channels, 3, stride=2)))
            in_channels = out_channels

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, C, H, W) -> [(N, C', H / 2, W / 2), (N, C', H / 4, W / 4), ...], rounded up."""
        outputs: list[Tensor] = []
        for level in self.levels:
            outputs.append(getattr(self, f"p{level}")(F.relu(outputs[-1]) if outputs else x))
        return outputs


class Pyramid(Backbone):
    """Base of necks: a backbone and what makes levels p3, p4, ... of one width from its maps."""

    ACTIVATION = "none"  # of the paper

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
    ) -> None:
        """
        Args:
            bottom_up: the backbone.
            in_features: its maps to use, finest first, each of half the resolution of the one
                before (res3, res4, res5).
            num_levels: of the pyramid, from the stride of the first map on; 5 from stride 8 on is
                P3..P7.
            out_channels: of every level; 256 in the papers of FPN and RetinaNet.
            norm, norm_groups: see :func:`retina_plugin.layers.norms.build_norm`.
            activation: a name of :data:`retina_plugin.layers.activations.ACTIVATIONS`, or "paper":
                the neck's own.
            top_feature: where P6 comes from: the coarsest map of ``in_features`` ("res5": C5) or
                the level made from it ("p5").

        Raises:
            ValueError: a map that the backbone does not return, strides that do not double, fewer
                levels than maps, or an unknown norm, activation or source of P6.
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
            allowed = (
                self.in_features[-1],
                f"p{self.in_levels[-1]}",
            )  # a finer map would give levels of a finer stride
            if top_feature not in allowed:
                raise ValueError(
                    f"MODEL.RETINA_PLUGIN.P6_FROM must be one of {list(allowed)}, "
                    f"found {top_feature!r}"
                )
            width = (shapes | self._shapes)[top_feature].channels
            self.top_block = ExtraLevels(
                in_channels=width, out_channels=out_channels, in_feature=top_feature, levels=extra
            )

    @property
    def size_divisibility(self) -> int:
        """The coarsest stride of the backbone's maps, so that upsampled maps fit."""
        return 2 ** self.in_levels[-1]

    def convolution(self, in_channels: int, kernel_size: int, *, stride: int = 1) -> Conv2d:
        """A convolution to the pyramid's width, with the norm of the config, or else a bias."""
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
        """``levels`` and the coarser ones that ``top_block`` makes from one of them or of the
        backbone's maps."""
        if len(levels) == len(self.levels):
            return levels
        source = features.get(self.top_block.in_feature, levels[-1])
        return levels + self.top_block(source)


def upsample(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 2 H, 2 W), each cell four times; a new tensor."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _levels(shapes: dict[str, ShapeSpec], in_features: Sequence[str]) -> list[int]:
    """Level l of each map, where stride = 2^l."""
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
