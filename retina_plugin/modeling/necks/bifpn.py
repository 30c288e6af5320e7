"""Weighted bidirectional pyramid (BiFPN; Tan et al., EfficientDet, arXiv 1911.09070, section 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retina_plugin.layers.norms import build_norm
from retina_plugin.layers.separable import SeparableConv2d
from retina_plugin.modeling.necks.pyramid import NECK_REGISTRY, Pyramid, xavier


class Fusion(nn.Module):
    """Fast normalised fusion, sum_i w_i x_i / (sum_i w_i + 1e-4) with learnt w >= 0, then
    activation and a separable convolution."""

    def __init__(
        self, num_inputs: int, *, activate: nn.Module, convolution: SeparableConv2d
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_inputs))
        self.activate, self.convolution = activate, convolution

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """``num_inputs`` maps (N, C, H, W) -> (N, C, H, W)."""
        weight = self.weight.relu()
        weight = (weight / (weight.sum() + 1e-4)).to(inputs[0].dtype)
        return self.convolution(
            self.activate(sum(w * x for w, x in zip(weight, inputs, strict=True)))
        )


class BiFPNLayer(nn.Module):
    """One way down and one way up through L levels of one width.

    Down, from coarse to fine, a level is fused with the coarser one; up, with what it was before
    and with the finer one. The two ends have no node of two equal inputs: the coarsest level has
    none on the way down, the finest none on the way up.
    """

    def __init__(self, num_levels: int, *, fusion: Callable[[int], Fusion]) -> None:
        super().__init__()
        self.down = nn.ModuleList(fusion(2) for _ in range(num_levels - 1))
        self.up = nn.ModuleList(
            fusion(3 if i < num_levels - 2 else 2) for i in range(num_levels - 1)
        )

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        """Levels (N, C, H, W), finest first, each half of the one before, rounded up -> the
        same."""
        between = [inputs[-1]]
        for fuse, x in zip(reversed(self.down), reversed(inputs[:-1]), strict=True):
            # To the size of x, which is odd where the coarser one was rounded up: cell i is still
            # made of cell i // 2.
            between.insert(
                0, fuse([x, F.interpolate(between[0], size=x.shape[-2:], mode="nearest")])
            )
        outputs = between[:1]
        for fuse, x, middle in zip(self.up, inputs[1:], between[1:], strict=True):
            finer = F.max_pool2d(outputs[-1], kernel_size=3, stride=2, padding=1)
            outputs.append(fuse([x, finer] if middle is x else [x, middle, finer]))
        return outputs


@NECK_REGISTRY.register("bifpn", reads={"repeats": "MODEL.RETINA_PLUGIN.NECK.REPEATS"})
class BiFPN(Pyramid):
    """1x1 convolutions to one width, P6, P7, ... as in FPN, then ``repeats`` layers over all
    levels."""

    ACTIVATION = "silu"

    def __init__(self, *, repeats: int, **arguments: Any) -> None:
        """
        Args:
            repeats: layers, at least 1; 3 to 8 in the paper.
            arguments: of :class:`retina_plugin.modeling.necks.pyramid.Pyramid`.

        Raises:
            ValueError: no layer, a single level, or values that ``Pyramid`` refuses.
        """
        super().__init__(**arguments)
        if repeats < 1 or len(self.levels) < 2:
            raise ValueError(
                "BiFPN needs MODEL.RETINA_PLUGIN.NECK.REPEATS of at least 1 and NECK.LEVELS of at "
                "least 2, "
                f"found {repeats} and {len(self.levels)}"
            )
        shapes = self.bottom_up.output_shape()
        for name, level in zip(self.in_features, self.in_levels, strict=True):
            self.add_module(f"lateral{level}", self.convolution(shapes[name].channels, 1))
        self.layers = nn.Sequential(
            *(BiFPNLayer(len(self.levels), fusion=self._fusion) for _ in range(repeats))
        )

    def _fusion(self, num_inputs: int) -> Fusion:
        norm = build_norm(
            self.norm, self.out_channels, groups=self.norm_groups, key="MODEL.FPN.NORM"
        )
        convolution = SeparableConv2d(self.out_channels, self.out_channels, norm=norm)
        xavier(convolution.depthwise), xavier(convolution.pointwise)
        return Fusion(num_inputs, activate=self.activate, convolution=convolution)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) -> {"p3": (N, C, H / 8, W / 8), ..., "p7": ...}, rounded up."""
        features = self.bottom_up(images)
        inputs = zip(self.in_levels, self.in_features, strict=True)
        levels = [getattr(self, f"lateral{level}")(features[name]) for level, name in inputs]
        levels = self.layers(self.add_extra_levels(levels, features))
        return dict(zip(self._shapes, levels, strict=True))
