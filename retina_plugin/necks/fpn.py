"""Feature pyramid network (Lin et al., arXiv 1612.03144) with RetinaNet's two extra levels (arXiv 1708.02002, section 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from retina_plugin.backbones.feature import Backbone, ShapeSpec
from retina_plugin.norms import Conv2d, build_norm


def xavier(layer: nn.Conv2d) -> nn.Conv2d:
    """Initialise a convolution that no ReLU follows, bias 0; the factor is Caffe2's, as in Detectron2."""
    nn.init.kaiming_uniform_(layer.weight, a=1)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class LastLevelP6P7(nn.Module):
    """P6 and P7: 3x3 convolutions of stride 2 on C5 (or P5), with a ReLU between them."""

    def __init__(self, *, in_channels: int, out_channels: int, in_feature: str) -> None:
        super().__init__()
        self.in_feature = in_feature
        self.p6 = xavier(nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1))
        self.p7 = xavier(nn.Conv2d(out_channels, out_channels, 3, stride=2, padding=1))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, C, H, W) -> [P6 (N, C', H / 2, W / 2), P7 (N, C', H / 4, W / 4)], rounded up."""
        p6 = self.p6(x)
        return [p6, self.p7(F.relu(p6))]


class FPN(Backbone):
    """A backbone with its pyramid: each level is a lateral 1x1 convolution plus the coarser level, upsampled, then a 3x3 convolution."""

    def __init__(
        self,
        *,
        bottom_up: Backbone,
        in_features: Sequence[str],
        out_channels: int,
        norm: str,
        norm_groups: int,
        top_feature: str,
    ) -> None:
        """
        Args:
            bottom_up: the backbone.
            in_features: its maps to use, finest first, each of half the resolution of the one before (res3, res4, res5).
            out_channels: of every level; 256 in the paper.
            norm, norm_groups: see :func:`retina_plugin.norms.build_norm`.
            top_feature: where P6 comes from: a map of the backbone ("res5": C5) or the coarsest pyramid level ("p5").

        Raises:
            ValueError: a map that the backbone does not return, or strides that do not double.
        """
        super().__init__()
        self.bottom_up, self.in_features = bottom_up, tuple(in_features)
        levels = _levels(bottom_up.output_shape(), self.in_features)
        for name, level in levels.items():
            channels = bottom_up.output_shape()[name].channels
            for part, width, kernel in (("lateral", channels, 1), ("output", out_channels, 3)):
                norm_layer = build_norm(norm, out_channels, groups=norm_groups)
                layer = Conv2d(width, out_channels, kernel, bias=not norm, norm=norm_layer)
                self.add_module(f"fpn_{part}{level}", xavier(layer))
        self.levels = tuple(levels.values())
        shapes = {f"p{level}": ShapeSpec(out_channels, 2**level) for level in self.levels}
        self.top_block = _top_block(
            bottom_up.output_shape() | shapes, top_feature, out_channels, allowed=(*in_features, list(shapes)[-1])
        )
        top = self.levels[-1]
        self._shapes = shapes | {f"p{top + i}": ShapeSpec(out_channels, 2 ** (top + i)) for i in (1, 2)}

    @property
    def size_divisibility(self) -> int:
        """The coarsest stride of the top-down path, so that upsampled maps fit."""
        return 2 ** self.levels[-1]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W), H and W multiples of ``size_divisibility`` -> {"p3": (N, C, H / 8, W / 8), ..., "p7": ...}."""
        features = self.bottom_up(images)
        merged, outputs = None, {}
        for name, level in zip(reversed(self.in_features), reversed(self.levels), strict=True):
            lateral = getattr(self, f"fpn_lateral{level}")(features[name])
            merged = (
                lateral if merged is None else lateral.add_(F.interpolate(merged, scale_factor=2.0, mode="nearest"))
            )
            outputs[f"p{level}"] = getattr(self, f"fpn_output{level}")(merged)
        top = self.levels[-1]
        source = features | outputs
        extra = self.top_block(source[self.top_block.in_feature])
        outputs.update({f"p{top + i}": x for i, x in enumerate(extra, start=1)})
        return {name: outputs[name] for name in self._shapes}


def _top_block(
    shapes: dict[str, ShapeSpec], feature: str, out_channels: int, *, allowed: Sequence[str]
) -> LastLevelP6P7:
    if feature not in allowed:
        raise ValueError(f"MODEL.RETINA_PLUGIN.P6_FROM must be one of {list(allowed)}, found {feature!r}")
    return LastLevelP6P7(in_channels=shapes[feature].channels, out_channels=out_channels, in_feature=feature)


def _levels(shapes: dict[str, ShapeSpec], in_features: Sequence[str]) -> dict[str, int]:
    """Name of each map -> its level l, where stride = 2^l."""
    missing = [name for name in in_features if name not in shapes]
    if missing or not in_features:
        raise ValueError(
            f"MODEL.FPN.IN_FEATURES {list(in_features)} must name maps that the backbone returns: {list(shapes)}"
        )
    levels = {name: round(math.log2(shapes[name].stride)) for name in in_features}
    steps = list(levels.values())
    if steps != list(range(steps[0], steps[0] + len(steps))):
        raise ValueError(
            f"strides of MODEL.FPN.IN_FEATURES must double from map to map, found {[shapes[n].stride for n in in_features]}"
        )
    return levels
