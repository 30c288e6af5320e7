"""What both ways of matching have in common: the overlap of a box and an anchor, and what is said
of all overlaps.

Axes: R anchors, M boxes of one image.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

NO_BOX = float("-inf")  # as highest overlap in an image without boxes: below every threshold


class Overlaps(NamedTuple):
    """Overlaps of the anchors with the boxes of an image.

    Attributes:
        highest: (R,) IoU with the best box; :data:`NO_BOX` in an image without boxes.
        best: (R,) int64, which box that is, the first of equals; 0 where no box overlaps.
        claimed: (R,) bool: overlaps some box, and that more than any other anchor does, ties
            included.
    """

    highest: Tensor
    best: Tensor
    claimed: Tensor


def coordinates_first(boxes: Tensor) -> Tensor:
    """(..., 4) -> (4, ...): x0, y0, x1 and y1, each contiguous in memory."""
    return boxes.movedim(-1, 0).contiguous()


def has_area(boxes: Tensor) -> Tensor:
    """Planes (4, M) -> (M,) bool. A box without an area overlaps nothing."""
    return (boxes[2:] - boxes[:2]).clamp(min=0).prod(dim=0) > 0


def iou_coordinates_first(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Intersection over union of planes that broadcast, boxes with an area; the numbers of
    :func:`retina_plugin.layers.boxes.pairwise_iou`, to the bit, which makes an anchor's overlap
    comparable with the highest one."""
    sizes = [(x[2:] - x[:2]).clamp_(min=0) for x in (boxes, anchors)]
    # (2, ...)
    shared = torch.min(boxes[2:], anchors[2:]).sub_(torch.max(boxes[:2], anchors[:2])).clamp_(min=0)
    shared = shared[0].mul_(shared[1])
    return shared / (sizes[0].prod(dim=0) + sizes[1].prod(dim=0)).sub_(shared)
