"""Assign anchors to ground-truth boxes by IoU.

The IoUs are computed by :mod:`~retina_plugin.modeling.assigners.tiles` on the CPU, and by
:mod:`~retina_plugin.modeling.assigners.dense` where shapes must be fixed. Both give bitwise equal
results.

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
    """Return the thresholds (low, high) of :class:`MaxIoUAssigner` from the config.

    Raises:
        ConfigError: if ``IOU_THRESHOLDS`` and ``IOU_LABELS`` do not match, or the thresholds are
            not sorted.
    """
    retinanet = cfg.MODEL.RETINANET
    thresholds, labels = list(retinanet.IOU_THRESHOLDS), list(retinanet.IOU_LABELS)
    known = (len(thresholds), labels) in ((1, [0, 1]), (2, [0, -1, 1]))
    if not known or thresholds != sorted(thresholds):
        raise ConfigError(
            "MODEL.RETINANET.IOU_THRESHOLDS and IOU_LABELS must be [low, high] with [0, -1, 1], or "
            f"[threshold] with [0, 1], found {thresholds} with {labels}"
        )
    return thresholds[0], thresholds[-1]


@ASSIGNER_REGISTRY.register(reads={"thresholds": _thresholds})
class MaxIoUAssigner:
    """Assigns to each anchor the box with the highest IoU, if the IoU is high enough.

    See :func:`match_anchors` for the rules.
    """

    def __init__(self, *, thresholds: tuple[float, float]) -> None:
        """
        Args:
            thresholds: IoUs (low, high). Anchors below low are background, anchors from high on
                are positive, and others are ignored.
        """
        self.thresholds = thresholds

    def __call__(
        self, anchors: Anchors, targets: Sequence[Target], predictions: Predictions | None = None
    ) -> Assignment:
        """See :class:`retina_plugin.modeling.assigners.Assigner`; the predictions are not used."""
        matches = []
        for overlaps in _overlaps(anchors.boxes, targets):
            not_positive, background = _negatives(overlaps, self.thresholds)
            best = overlaps.best.masked_fill_(not_positive, IGNORED)
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
    """Label every anchor of one image (RetinaNet, arXiv 1708.02002, section 4).

    The best box of an anchor is the one with the highest IoU. If this IoU is at least
    ``thresholds[1]``, the anchor gets the class of its best box; if it is below ``thresholds[0]``,
    the anchor is background; otherwise it is ignored.

    Low-quality matches (arXiv 1506.01497, section 3.1.2): an anchor that has the highest IoU of all
    anchors with some box, ties included, gets the class of its best box even below the thresholds,
    so that small boxes have positives. A box that no anchor overlaps, such as a box without area,
    makes no anchor positive; in Detectron2, it makes all anchors that have IoU 0 with it positive.

    Args:
        anchors: (R, 4) XYXY pixels.
        gt_boxes: (M, 4) XYXY pixels, converted to the dtype of ``anchors``. M may be 0; then all
            anchors are background.
        gt_classes: (M,) integers in [0, num_classes).
        num_classes: K.
        thresholds: IoUs (low, high), see :class:`MaxIoUAssigner`.

    Returns:
        labels: (R,) int64, a class, ``num_classes`` for background, or -1 for ignored.
        matches: (R,) int64, the index in ``gt_boxes`` of the best box; 0 if M is 0.
    """
    (overlaps,) = _overlaps(anchors, [{"boxes": gt_boxes, "labels": gt_classes}])
    not_positive, background = _negatives(overlaps, thresholds)
    if len(gt_boxes) == 0:
        return torch.full_like(overlaps.best, num_classes), overlaps.best
    labels = gt_classes.long().index_select(0, overlaps.best).masked_fill_(not_positive, -1)
    return labels.masked_fill_(background, num_classes), overlaps.best


@torch.no_grad()
def _overlaps(anchors: Tensor, targets: Sequence[Target]) -> list[Overlaps]:
    """Compute the overlaps of anchors (R, 4) with the boxes of each image."""
    targets = arrange_targets(targets, like=anchors)
    if isinstance(targets, PaddedTargets):
        images = zip(targets.boxes.to(anchors.dtype), targets.mask, strict=True)
        return [overlaps_with_all(anchors, boxes, mask) for boxes, mask in images]
    return [overlaps_in_tiles(anchors, target["boxes"].to(anchors.dtype)) for target in targets]


def _negatives(overlaps: Overlaps, thresholds: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Return two masks (R,): anchors that are not positive, and anchors that are background."""
    low, high = thresholds
    not_positive = (overlaps.highest < high) & ~overlaps.best_for_box
    return not_positive, not_positive & (overlaps.highest < low)
