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
    """Fast normalised fusion, then an activation and a separable convolution.

    The fusion is sum_i w_i x_i / (sum_i w_i + 1e-4) with learnt weights w_i >= 0.
    """

    def __init__(
        self, num_inputs: int, *, activate: nn.Module, convolution: SeparableConv2d
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_inputs))
        self.activate, self.convolution = activate, convolution

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Fuse ``num_inputs`` maps (N, C, H, W) to one (N, C, H, W)."""
        weight = self.weight.relu()
        weight = (weight / (weight.sum() + 1e-4)).to(inputs[0].dtype)
        fused = sum(w * x for w, x in zip(weight, inputs, strict=True))
        output: Tensor = self.convolution(self.activate(fused))
        return output


class BiFPNLayer(nn.Module):
    """A top-down and a bottom-up path through all levels.

    On the top-down path, from coarse to fine, each level except the coarsest is fused with the
    coarser one. On the bottom-up path, each level except the finest is fused with its input and the
    finer level.
    """

    def __init__(self, num_levels: int, *, fusion: Callable[[int], Fusion]) -> None:
        super().__init__()
        self.down = nn.ModuleList(fusion(2) for _ in range(num_levels - 1))
        self.up = nn.ModuleList(
            fusion(3 if i < num_levels - 2 else 2) for i in range(num_levels - 1)
        )

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        """Fuse levels (N, C, H, W); the results have the same shapes.

        The finest level comes first, and each level has half the size of the one before, rounded
        up.
        """
        middle_levels = [inputs[-1]]
        for fuse, x in zip(reversed(self.down), reversed(inputs[:-1]), strict=True):
            # Cell i of the upsampled map is a copy of cell i // 2, even if the size of x is odd.
            coarser = F.interpolate(middle_levels[0], size=x.shape[-2:], mode="nearest")
            middle_levels.insert(0, fuse([x, coarser]))
        outputs = middle_levels[:1]
        for fuse, x, middle in zip(self.up, inputs[1:], middle_levels[1:], strict=True):
            finer = F.max_pool2d(outputs[-1], kernel_size=3, stride=2, padding=1)
            outputs.append(fuse([x, finer] if middle is x else [x, middle, finer]))
        return outputs


@NECK_REGISTRY.register("bifpn", reads={"repeats": "MODEL.RETINA_PLUGIN.NECK.REPEATS"})
class BiFPN(Pyramid):
    """A 1x1 convolution of each map, extra levels as in FPN, and ``repeats`` BiFPN layers."""

    ACTIVATION = "silu"

    def __init__(self, *, repeats: int, **arguments: Any) -> None:
        """
        Args:
            repeats: number of layers, at least 1; 3 to 8 in the paper.
            arguments: the arguments of :class:`retina_plugin.modeling.necks.pyramid.Pyramid`.

        Raises:
            ValueError: if ``repeats`` is below 1 or there is only one level; see also ``Pyramid``.
        """
        super().__init__(**arguments)
        if repeats < 1 or len(self.levels) < 2:
            raise ValueError(
                "BiFPN needs MODEL.RETINA_PLUGIN.NECK.REPEATS of at least 1 and NECK.LEVELS of at "
                f"least 2, found {repeats} and {len(self.levels)}"
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
        """Compute {"p3": (N, C, H / 8, W / 8), ..., "p7": ...}, rounded up, from (N, 3, H, W)."""
        features = self.bottom_up(images)
        inputs = zip(self.in_levels, self.in_features, strict=True)
        levels = [getattr(self, f"lateral{level}")(features[name]) for level, name in inputs]
        levels = self.layers(self.add_extra_levels(levels, features))
        return dict(zip(self._shapes, levels, strict=True))
