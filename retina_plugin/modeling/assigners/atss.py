"""Adaptive training sample selection (ATSS, arXiv 1912.02424).

The IoU threshold of each box is computed from the anchors around its centre. One implementation
serves all devices. Its shapes depend only on the shapes of the input, except for one step on the
CPU, which compares only the positives.

Axes: N images, R anchors, M boxes of all images, C candidates of a box.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from retina_plugin.modeling.assigners.all_boxes import (
    centres_inside,
    collect_boxes,
    matches_by_iou,
)
from retina_plugin.modeling.assigners.candidates import closest_anchors
from retina_plugin.modeling.assigners.overlaps import coordinates_first, iou_coordinates_first
from retina_plugin.modeling.assigners.registry import ASSIGNER_REGISTRY
from retina_plugin.modeling.structures import Anchors, Assignment, Predictions, Target

# Relative tolerance for rounding errors of the threshold. If all candidates have the same IoU, it
# is the threshold, but its computed mean can be slightly larger.
SLACK = 1e-6


@ASSIGNER_REGISTRY.register(reads={"topk": "MODEL.RETINA_PLUGIN.ASSIGNER.ATSSAssigner.TOPK"})
class ATSSAssigner:
    """Selects positives by an IoU threshold that adapts to each box.

    The candidates of a box are the anchors of the ``topk`` cells of each level that are closest to
    its centre. The threshold is the mean plus the standard deviation of the candidates' IoUs. A
    candidate is positive if its IoU is at least the threshold and its centre is inside the box. All
    other anchors are background. An anchor that is positive for several boxes is assigned to the
    one with the highest IoU.

    As in the paper, a box gets no anchor if it contains no centre of a candidate, for example a box
    that is much smaller than a cell of the finest level. It also gets none if half of its
    candidates or more share the highest IoU and the others have a lower one, because then none
    reaches the threshold. This is possible with one anchor per cell on two levels, for a box that
    is much larger than the anchors.
    """

    def __init__(self, *, topk: int) -> None:
        """
        Args:
            topk: number of cells in each level, at least 1; 9 in the paper. With A anchors per
                cell, a box has ``topk * A`` candidates in each level. A level with fewer cells
                gives all of them.
        """
        self.topk = topk

    @torch.no_grad()
    def __call__(
        self, anchors: Anchors, targets: Sequence[Target], predictions: Predictions | None = None
    ) -> Assignment:
        """See :class:`retina_plugin.modeling.assigners.Assigner`; the predictions are not used."""
        boxes = collect_boxes(targets, like=anchors.boxes)
        candidates = closest_anchors(anchors, boxes.centres, cells=self.topk)
        positive, iou = select_by_iou(boxes.boxes, anchors.boxes[candidates])
        if boxes.valid is not None:
            positive = positive & boxes.valid[:, None]
        return Assignment(
            matches_by_iou(boxes, candidates, positive, iou, num_anchors=len(anchors.boxes))
        )


def select_by_iou(boxes: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Apply the adaptive threshold (algorithm 1, lines 9 to 14).

    Args:
        boxes: (M, 4).
        candidates: (M, C, 4), the candidates of each box. C and M may be 0. With one candidate the
            threshold is its own IoU.

    Returns:
        Whether each candidate is positive, (M, C) bool, and its IoU, (M, C).
    """
    iou = iou_coordinates_first(coordinates_first(boxes)[..., None], coordinates_first(candidates))
    threshold = iou.mean(dim=1, keepdim=True)
    if iou.shape[1] > 1 and len(iou):  # torch warns about the deviation of no boxes
        threshold = threshold + iou.std(dim=1, keepdim=True)
    return (iou >= threshold * (1 - SLACK)) & centres_inside(boxes, candidates), iou
