"""Assign anchors to ground-truth boxes by IoU.

The rules are here. :mod:`~retina_plugin.modeling.assigners.tiles` computes overlaps on the CPU,
:mod:`~retina_plugin.modeling.assigners.dense` where shapes must be fixed; both to the same bit.

Axes: N images, R anchors, M boxes of one image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from retina_plugin.config.errors import ConfigError
from retina_plugin.modeling.assigners.dense import overlaps_with_all
from retina_plugin.modeling.assigners.overlaps import Overlaps
from retina_plugin.modeling.assigners.registry import ASSIGNER_REGISTRY
from retina_plugin.modeling.assigners.tiles import overlaps_in_tiles
from retina_plugin.modeling.structures import (
    BACKGROUND,
    IGNORED,
    Anchors,
    Assignment,
    Predictions,
    Target,
)
from retina_plugin.modeling.targets import PaddedTargets, arrange_targets


def _thresholds(cfg: Any) -> tuple[float, float]:
    """``IOU_THRESHOLDS`` and ``IOU_LABELS`` as (background below, object from)."""
    retinanet = cfg.MODEL.RETINANET
    thresholds, labels = list(retinanet.IOU_THRESHOLDS), list(retinanet.IOU_LABELS)
    known = (len(thresholds), labels) in ((1, [0, 1]), (2, [0, -1, 1]))
    if not known or thresholds != sorted(thresholds):
        raise ConfigError(
            "MODEL.RETINANET.IOU_THRESHOLDS and IOU_LABELS must be [low, high] with [0, -1, 1], or "
            f"[one] with [0, 1], found {thresholds} with {labels}"
        )
    return thresholds[0], thresholds[-1]


@ASSIGNER_REGISTRY.register(reads={"thresholds": _thresholds})
class MaxIoUAssigner:
    """An anchor learns the box that it overlaps most, if it overlaps it enough; see
    :func:`match_anchors`."""

    def __init__(self, *, thresholds: tuple[float, float]) -> None:
        """
        Args:
            thresholds: IoU, (background below, object from); between them anchors are ignored.
        """
        self.thresholds = thresholds

    def __call__(
        self, anchors: Anchors, targets: Sequence[Target], predictions: Predictions | None = None
    ) -> Assignment:
        """See :class:`retina_plugin.modeling.assigners.Assigner`; the predictions are not used."""
        matches = []
        for overlaps in _overlaps(anchors.boxes, targets):
            negative, background = _negatives(overlaps, self.thresholds)
            best = overlaps.best.masked_fill_(negative, IGNORED)
            matches.append(best.masked_fill_(background, BACKGROUND))
        return Assignment(torch.stack(matches))


@torch.no_grad()
def match_anchors(
    anchors: Tensor,
    gt_boxes: Tensor,
    gt_classes: Tensor,
    *,
    num_classes: int,
    thresholds: tuple[float, float],
) -> tuple[Tensor, Tensor]:
    """Label every anchor of one image (RetinaNet, arXiv 1708.02002, section 4; low-quality matches:
    arXiv 1506.01497, section 3.1.2).

    An anchor takes the box that it overlaps most. At an IoU of at least ``thresholds[1]`` it learns
    the class of that box, below ``thresholds[0]`` it is background, and between them it is ignored.
    The anchors that overlap a box more than any other anchor does, ties included, learn the class
    of their own best box even below the thresholds, so that small boxes are learnt at all. A box
    that overlaps no anchor (one of zero area, say) claims none; in Detectron2's matcher it claims
    every anchor of IoU 0.

    Args:
        anchors: (R, 4) XYXY pixels.
        gt_boxes: (M, 4) XYXY pixels, compared in the type of ``anchors``; M may be 0, then all is
            background.
        gt_classes: (M,) integers in [0, num_classes).
        num_classes: K.
        thresholds: (background below, foreground from).

    Returns:
        labels: (R,) int64: a class, ``num_classes`` for background, -1 for ignored.
        matches: (R,) int64 index into ``gt_boxes`` of the best box; 0 where M is 0.
    """
    (overlaps,) = _overlaps(anchors, [{"boxes": gt_boxes, "labels": gt_classes}])
    negative, background = _negatives(overlaps, thresholds)
    if len(gt_boxes) == 0:
        return torch.full_like(overlaps.best, num_classes), overlaps.best
    labels = gt_classes.long().index_select(0, overlaps.best).masked_fill_(negative, -1)
    return labels.masked_fill_(background, num_classes), overlaps.best


@torch.no_grad()
def _overlaps(anchors: Tensor, targets: Sequence[Target]) -> list[Overlaps]:
    """Of anchors (R, 4) with the boxes of each image."""
    targets = arrange_targets(targets, like=anchors)
    if isinstance(targets, PaddedTargets):
        images = zip(targets.boxes.to(anchors.dtype), targets.mask, strict=True)
        return [overlaps_with_all(anchors, boxes, mask) for boxes, mask in images]
    return [overlaps_in_tiles(anchors, target["boxes"].to(anchors.dtype)) for target in targets]


def _negatives(overlaps: Overlaps, thresholds: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Which anchors are no positives (R,) bool; which of these are background (R,) bool."""
    low, high = thresholds
    negative = (overlaps.highest < high) & ~overlaps.claimed
    return negative, negative & (overlaps.highest < low)
