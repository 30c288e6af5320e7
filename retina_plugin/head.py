"""The head of RetinaNet (arXiv 1708.02002, section 4): a class subnet and a box subnet of one structure and separate parameters,
each applied to every level of the pyramid.

Axes: N images, A anchors per cell, K classes, C channels, H and W cells of a level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from retina_plugin.norms import Conv2d, build_norm, on_levels
from retina_plugin.registry import Registry

RETINA_HEAD_REGISTRY = Registry("RetinaNet head")


class LevelBatchNorm(nn.ModuleList):
    """Batch normalisation with statistics for each level and one weight and bias for all (as in Detectron2's heads).

    Levels of a pyramid have different statistics; one set for all of them is right for none. Levels must come in order, all in turn.
    """

    def __init__(self, kind: type[nn.Module], channels: int, *, num_levels: int) -> None:
        super().__init__([kind(channels, affine=False) for _ in range(num_levels)])
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self._level = 0

    def forward(self, x: Tensor) -> Tensor:
        x = self[self._level](x)
        self._level = (self._level + 1) % len(self)
        return x * self.weight[:, None, None] + self.bias[:, None, None]


def _norm(name: str, channels: int, *, groups: int, num_levels: int) -> nn.Module | None:
    if name in ("BN", "SyncBN"):
        kind = nn.BatchNorm2d if name == "BN" else nn.SyncBatchNorm
        return LevelBatchNorm(kind, channels, num_levels=num_levels)
    return build_norm(name, channels, groups=groups)


@RETINA_HEAD_REGISTRY.register()
class RetinaHead(nn.Module):
    """``num_convs`` 3x3 convolutions with ReLU, then a 3x3 convolution to K * A logits, or to 4 * A box deltas."""

    def __init__(
        self,
        *,
        in_channels: int,
        num_levels: int,
        num_classes: int,
        num_anchors: int,
        num_convs: int,
        norm: str,
        norm_groups: int,
        prior_prob: float,
    ) -> None:
        """
        Args:
            in_channels: C of every level, kept by the subnets.
            num_levels: of the pyramid.
            num_classes: K, without background.
            num_anchors: A.
            num_convs: in each subnet before the prediction; 4 in the paper.
            norm: "" (the paper), "GN", or "BN" / "SyncBN" with statistics for each level.
            norm_groups: of GN.
            prior_prob: score of every anchor before training, in (0, 1). At 0.01 the many negatives start as easy ones and
                do not drown the positives (section 3.3).

        Raises:
            ValueError: ``prior_prob`` outside (0, 1).
        """
        super().__init__()
        if not 0 < prior_prob < 1:
            raise ValueError(f"MODEL.RETINANET.PRIOR_PROB must lie between 0 and 1, found {prior_prob}")
        self.num_classes = num_classes

        def subnet() -> nn.Sequential:
            layers: list[nn.Module | None] = []
            for _ in range(num_convs):
                layers.append(Conv2d(in_channels, in_channels, 3))
                layers.append(_norm(norm, in_channels, groups=norm_groups, num_levels=num_levels))
                layers.append(nn.ReLU(inplace=True))
            return nn.Sequential(*(layer for layer in layers if layer is not None))

        self.cls_subnet, self.bbox_subnet = subnet(), subnet()
        self.cls_score = Conv2d(in_channels, num_anchors * num_classes, 3)
        self.bbox_pred = Conv2d(in_channels, num_anchors * 4, 3)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)
        nn.init.constant_(self.cls_score.bias, -math.log((1 - prior_prob) / prior_prob))

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Pyramid levels (N, C, H, W), finest first -> logits (N, A * K, H, W) and deltas (N, A * 4, H, W) of each level."""
        logits, deltas = features, features
        for layer in (*self.cls_subnet, self.cls_score):
            logits = on_levels(layer, logits)
        for layer in (*self.bbox_subnet, self.bbox_pred):
            deltas = on_levels(layer, deltas)
        return logits, deltas
