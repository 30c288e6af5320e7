"""The head of RetinaNet (arXiv 1708.02002, section 4): a class subnet and a box subnet of one
structure and separate parameters, each applied to every level of the pyramid.

Axes: N images, A anchors per cell, K classes, C channels, H and W cells of a level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from retina_plugin.layers.activations import build_activation
from retina_plugin.layers.norms import Conv2d, apply_to_levels, build_norm
from retina_plugin.layers.separable import SeparableConv2d
from retina_plugin.modeling.heads.registry import RETINA_HEAD_REGISTRY
from retina_plugin.modeling.structures import Predictions


class LevelBatchNorm(nn.ModuleList):
    """Batch normalisation with statistics for each level and one weight and bias for all (as in
    Detectron2's heads).

    Levels of a pyramid have different statistics; one set for all of them is right for none. Levels
    must come in order, all in turn.
    """

    def __init__(self, kind: type[nn.Module], channels: int, *, num_levels: int) -> None:
        super().__init__([kind(channels, affine=False) for _ in range(num_levels)])
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self._level = 0

    def restart(self) -> None:
        """The next level is the first, whatever became of an earlier call."""
        self._level = 0

    def forward(self, x: Tensor) -> Tensor:
        x = self[self._level](x)
        self._level = (self._level + 1) % len(self)
        return x * self.weight[:, None, None] + self.bias[:, None, None]


def _norm(name: str, channels: int, *, groups: int, num_levels: int) -> nn.Module | None:
    if name in ("BN", "SyncBN"):
        kind = nn.BatchNorm2d if name == "BN" else nn.SyncBatchNorm
        return LevelBatchNorm(kind, channels, num_levels=num_levels)
    return build_norm(name, channels, groups=groups, key="MODEL.RETINANET.NORM")


@RETINA_HEAD_REGISTRY.register()
class RetinaHead(nn.Module):
    """``num_convs`` 3x3 convolutions with ReLU, then a 3x3 convolution to K * A logits, or to 4 * A
    box deltas."""

    def __init__(
        self,
        *,
        in_channels: int,
        num_levels: int,
        num_classes: int,
        num_anchors: int,
        box_dim: int,
        num_convs: int,
        width: int,
        norm: str,
        norm_groups: int,
        activation: str,
        separable: bool,
        level_scale: bool,
        prior_prob: float | Sequence[float],
    ) -> None:
        """
        Args:
            in_channels: C of every level.
            num_levels: of the pyramid.
            num_classes: K, without background.
            num_anchors: A.
            box_dim: D, see the box coder; 4 in the paper.
            num_convs: in each subnet before the prediction; 4 in the paper.
            width: channels of these; 0 for C, as in the paper.
            norm: "" (the paper), "GN", or "BN" / "SyncBN" with statistics for each level.
            norm_groups: of GN.
            activation: a name of :data:`retina_plugin.layers.activations.ACTIVATIONS`; "relu" in
                the paper.
            separable: the convolutions of the subnets, not the predictions, are depthwise separable
                (as in EfficientDet).
            level_scale: box deltas are multiplied by a learnt number for each level, from 1 on (as
                in FCOS, arXiv 1904.01355).
            prior_prob: score of every anchor before training, in (0, 1), or one for each of the K
                classes. At 0.01 the many negatives start as easy ones and do not drown the
                positives (section 3.3).

        Raises:
            ValueError: a ``prior_prob`` outside (0, 1) or not for K classes, or an unknown norm or
                activation.
        """
        super().__init__()
        self.num_classes, self.num_anchors = num_classes, num_anchors
        width = width or in_channels
        self.cls_subnet, self.bbox_subnet = (
            nn.Sequential(
                *_subnet(
                    [in_channels] + [width] * num_convs,
                    convolution=SeparableConv2d if separable else partial(Conv2d, kernel_size=3),
                    norm=lambda: _norm(norm, width, groups=norm_groups, num_levels=num_levels),
                    activation=activation,
                )
            )
            for _ in range(2)
        )
        last = width if num_convs else in_channels
        self.cls_score = Conv2d(last, num_anchors * num_classes, 3)
        self.bbox_pred = Conv2d(last, num_anchors * box_dim, 3)
        self.bbox_scales = nn.Parameter(torch.ones(num_levels)) if level_scale else None
        self.apply(_init_convolution)
        self.apply(_init_separable)
        self.cls_score.bias.data.copy_(_prior_logits(prior_prob, num_classes).repeat(num_anchors))

    def forward(self, features: Sequence[Tensor]) -> Predictions:
        """Pyramid levels (N, C, H, W), finest first -> logits (N, R, K) and deltas (N, R, D)."""
        return Predictions.from_levels(
            self.class_maps(features), self.box_maps(features), num_anchors=self.num_anchors
        )

    def class_maps(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Pyramid levels (N, C, H, W), finest first -> logits (N, A * K, H, W) of each."""
        return _apply_layers((*self.cls_subnet, self.cls_score), features)

    def box_maps(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Pyramid levels (N, C, H, W), finest first -> deltas (N, A * D, H, W) of each."""
        deltas = _apply_layers((*self.bbox_subnet, self.bbox_pred), features)
        if self.bbox_scales is None:
            return deltas
        return [x * scale for x, scale in zip(deltas, self.bbox_scales, strict=True)]


def _apply_layers(layers: Sequence[nn.Module], features: Sequence[Tensor]) -> list[Tensor]:
    """Every level through every layer, layer by layer."""
    for layer in layers:
        if isinstance(layer, LevelBatchNorm):
            layer.restart()
    levels = list(features)
    for layer in layers:
        levels = apply_to_levels(layer, levels)
    return levels


def _subnet(
    widths: Sequence[int],
    *,
    convolution: Callable[[int, int], nn.Module],
    norm: Callable[[], nn.Module | None],
    activation: str,
) -> Iterator[nn.Module]:
    """Convolution, norm if there is one, activation for each step from one of ``widths`` to the
    next."""
    for in_channels, out_channels in pairwise(widths):
        yield convolution(in_channels, out_channels)
        normalisation = norm()
        if normalisation is not None:
            yield normalisation
        yield build_activation(activation, key="MODEL.RETINA_PLUGIN.HEAD.ACTIVATION")


def _init_convolution(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d):
        nn.init.normal_(layer.weight, std=0.01)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _init_separable(layer: nn.Module) -> None:
    """In two layers of deviation 0.01 the signal would vanish: the first keeps it, the second
    shrinks it as a 3x3 of 0.01 does."""
    if isinstance(layer, SeparableConv2d):
        nn.init.normal_(layer.depthwise.weight, std=1 / 3)
        nn.init.normal_(layer.pointwise.weight, std=0.03)


def _prior_logits(prior_prob: float | Sequence[float], num_classes: int) -> Tensor:
    """The bias (K,) whose sigmoid is the prior."""
    priors = list(prior_prob) if isinstance(prior_prob, Sequence) else [prior_prob] * num_classes
    if len(priors) != num_classes or not all(0 < p < 1 for p in priors):
        raise ValueError(
            "MODEL.RETINANET.PRIOR_PROB must lie between 0 and 1, as one number or as one for each "
            "of the "
            f"{num_classes} classes, found {prior_prob}"
        )
    return torch.tensor([-math.log((1 - p) / p) for p in priors])
