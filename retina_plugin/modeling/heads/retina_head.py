"""The head of RetinaNet (arXiv 1708.02002, section 4): a class subnet and a box subnet.

The subnets have the same structure and separate parameters. Each is applied to all pyramid levels.

Axes: N images, A anchors per cell, K classes, C channels, H and W cells of a level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
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
    """Batch normalisation with separate statistics for each level, as in Detectron2's heads.

    The weight and bias are shared by all levels. Separate statistics are needed because the
    activations of the levels differ. Each call processes the next level, so the levels must be
    passed in order; :meth:`restart` starts again with the first level.
    """

    def __init__(self, kind: type[nn.Module], channels: int, *, num_levels: int) -> None:
        super().__init__([kind(channels, affine=False) for _ in range(num_levels)])
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self._level = 0

    def restart(self) -> None:
        """Start with the first level, even if an earlier pass over the levels was interrupted."""
        self._level = 0

    def forward(self, x: Tensor) -> Tensor:
        normalised: Tensor = self[self._level](x)
        self._level = (self._level + 1) % len(self)
        return normalised * self.weight[:, None, None] + self.bias[:, None, None]


def _norm(name: str, channels: int, *, groups: int, num_levels: int) -> nn.Module | None:
    if name in ("BN", "SyncBN"):
        kind = nn.BatchNorm2d if name == "BN" else nn.SyncBatchNorm
        return LevelBatchNorm(kind, channels, num_levels=num_levels)
    return build_norm(name, channels, groups=groups, key="MODEL.RETINANET.NORM")


@RETINA_HEAD_REGISTRY.register()
class RetinaHead(nn.Module):
    """Two subnets of ``num_convs`` 3x3 convolutions, each followed by a 3x3 prediction layer.

    The class subnet predicts A * K logits per cell, and the box subnet A * D box deltas and, if
    there is a quality branch, A qualities.
    """

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
        quality_branch: bool,
        prior_prob: float | Sequence[float],
    ) -> None:
        """
        Args:
            in_channels: C, the number of channels of every level.
            num_levels: number of pyramid levels.
            num_classes: K, without background.
            num_anchors: A.
            box_dim: D, the number of values that the box coder needs; 4 in the paper.
            num_convs: number of convolutions in each subnet before the prediction layer; 4 in the
                paper.
            width: channels of these convolutions; 0 means C, as in the paper.
            norm: "" as in the paper, "GN", or "BN" or "SyncBN" with separate statistics
                for each level.
            norm_groups: number of groups of GN.
            activation: a key of :data:`retina_plugin.layers.activations.ACTIVATIONS`; "relu" in the
                paper.
            separable: use depthwise separable convolutions in the subnets, but not in the
                prediction layers, as in EfficientDet.
            level_scale: multiply the box deltas by a learnt factor for each level, initially 1, as
                in FCOS (arXiv 1904.01355).
            quality_branch: also predict the quality of each box by a 3x3 convolution after the box
                subnet, as in ATSS (arXiv 1912.02424). Scores are multiplied by the quality.
            prior_prob: score of every anchor before training, in (0, 1); one number, or one for
                each of the K classes. With a small value, such as 0.01, the many negatives do not
                dominate the loss at the start of training (section 3.3 of the paper).

        Raises:
            ValueError: if ``prior_prob`` is outside (0, 1) or does not have K entries, or the norm
                or activation is unknown.
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
        self.quality_pred = Conv2d(last, num_anchors, 3) if quality_branch else None
        self.bbox_scales = nn.Parameter(torch.ones(num_levels)) if level_scale else None
        self.apply(_init_convolution)
        self.apply(_init_separable)
        assert self.cls_score.bias is not None
        self.cls_score.bias.data.copy_(_prior_logits(prior_prob, num_classes).repeat(num_anchors))

    def forward(self, features: Sequence[Tensor]) -> Predictions:
        """Compute logits (N, R, K), deltas (N, R, D) and, if there is a quality branch, qualities
        (N, R) from levels (N, C, H, W), finest first."""
        classes, boxes = self.class_maps(features), _apply_layers(self.bbox_subnet, features)
        quality = None if self.quality_pred is None else _apply_layers([self.quality_pred], boxes)
        return Predictions.from_levels(
            classes, self._deltas(boxes), quality, num_anchors=self.num_anchors
        )

    def class_maps(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Compute logits (N, A * K, H, W) of each level from levels (N, C, H, W), finest first."""
        return _apply_layers((*self.cls_subnet, self.cls_score), features)

    def box_maps(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Compute deltas (N, A * D, H, W) of each level from levels (N, C, H, W), finest first."""
        return self._deltas(_apply_layers(self.bbox_subnet, features))

    def _deltas(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Compute deltas (N, A * D, H, W) of each level from the outputs of the box subnet."""
        deltas = _apply_layers([self.bbox_pred], features)
        if self.bbox_scales is None:
            return deltas
        return [x * scale for x, scale in zip(deltas, self.bbox_scales, strict=True)]


def _apply_layers(layers: Iterable[nn.Module], features: Sequence[Tensor]) -> list[Tensor]:
    """Apply the layers to all levels, one layer after the other."""
    layers = list(layers)
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
    """Yield a convolution, a norm (if any) and an activation for each pair of successive widths."""
    for in_channels, out_channels in pairwise(widths):
        yield convolution(in_channels, out_channels)
        normalisation = norm()
        if normalisation is not None:
            yield normalisation
        yield build_activation(activation, key="MODEL.RETINA_PLUGIN.HEAD.ACTIVATION")


def _init_convolution(layer: nn.Module) -> None:
    """Initialise a convolution as in the paper: weights with standard deviation 0.01, bias 0."""
    if isinstance(layer, nn.Conv2d):
        nn.init.normal_(layer.weight, std=0.01)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _init_separable(layer: nn.Module) -> None:
    """Initialise a separable convolution so that its output has the scale of a 3x3 convolution's.

    With a standard deviation of 0.01 in both layers, the output would be nearly 0.
    """
    if isinstance(layer, SeparableConv2d):
        nn.init.normal_(layer.depthwise.weight, std=1 / 3)
        nn.init.normal_(layer.pointwise.weight, std=0.03)


def _prior_logits(prior_prob: float | Sequence[float], num_classes: int) -> Tensor:
    """Return the biases (K,) whose sigmoids are the priors.

    Raises:
        ValueError: if a prior is outside (0, 1), or a list does not have K entries.
    """
    priors = list(prior_prob) if isinstance(prior_prob, Sequence) else [prior_prob] * num_classes
    if len(priors) != num_classes or not all(0 < p < 1 for p in priors):
        raise ValueError(
            "MODEL.RETINANET.PRIOR_PROB must lie between 0 and 1, as one number or one for each "
            f"of the {num_classes} classes, found {prior_prob}"
        )
    return torch.tensor([-math.log((1 - p) / p) for p in priors])
