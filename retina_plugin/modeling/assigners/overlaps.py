"""The IoU computation and the result type that :mod:`~retina_plugin.modeling.assigners.tiles` and
:mod:`~retina_plugin.modeling.assigners.dense` share.

Axes: R anchors, M boxes of one image.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

NO_BOX = float("-inf")  # the highest IoU in an image without boxes; below every threshold


class Overlaps(NamedTuple):
    """The overlaps of the anchors with the boxes of one image.

    Attributes:
        highest: (R,), the IoU of each anchor with its best box; :data:`NO_BOX` in an image without
            boxes.
        best: (R,) int64, the index of the best box, the first one in a tie; 0 if no box overlaps.
        best_for_box: (R,) bool, whether the anchor has the highest IoU of all anchors with some
            box, ties included. Such an anchor is positive even if the IoU is low.
    """

    highest: Tensor
    best: Tensor
    best_for_box: Tensor


def coordinates_first(boxes: Tensor) -> Tensor:
    """Convert (..., 4) to (4, ...), so that x0, y0, x1 and y1 are each contiguous in memory."""
    return boxes.movedim(-1, 0).contiguous()


def has_area(boxes: Tensor) -> Tensor:
    """Return whether each box has an area: (4, M) -> (M,) bool."""
    return (boxes[2:] - boxes[:2]).clamp(min=0).prod(dim=0) > 0


def iou_coordinates_first(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Return the IoU of boxes and anchors (4, ...), whose axes after the first one broadcast.

    All boxes must have an area. The results are bitwise equal to those of
    :func:`retina_plugin.layers.boxes.pairwise_iou`, so that they can be compared for equality.
    """
    sizes = [(x[2:] - x[:2]).clamp_(min=0) for x in (boxes, anchors)]
    # (2, ...)
    shared = torch.min(boxes[2:], anchors[2:]).sub_(torch.max(boxes[:2], anchors[:2])).clamp_(min=0)
    shared = shared[0].mul_(shared[1])
    return shared / (sizes[0].prod(dim=0) + sizes[1].prod(dim=0)).sub_(shared)
