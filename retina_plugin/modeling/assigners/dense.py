"""IoUs of anchors and boxes with fixed shapes, for accelerators and traced code.

Every box is compared with every anchor, B boxes at a time to limit the memory.

Axes: R anchors, M boxes of one image, B boxes that are processed at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from retina_plugin.modeling.assigners.overlaps import (
    NO_BOX,
    Overlaps,
    coordinates_first,
    has_area,
    iou_coordinates_first,
)

# Number of IoUs computed at once, B * R; B is at least 1. About five tensors of this size exist at
# the same time, 330 MiB in float32.
PART_OVERLAPS = 2**24


def overlaps_with_all(anchors: Tensor, boxes: Tensor, mask: Tensor) -> Overlaps:
    """Compute the overlaps of anchors (R, 4) and boxes (M, 4) of the same dtype.

    The mask (M,) is False for boxes that are padding. R and M may be 0.
    """
    highest = torch.zeros_like(anchors[:, 0])
    best = torch.zeros_like(highest, dtype=torch.int64)
    best_for_box = torch.zeros_like(best, dtype=torch.bool)
    if len(anchors) and len(boxes):
        corners = coordinates_first(anchors)[:, None]  # (4, 1, R)
        valid, start = mask & has_area(coordinates_first(boxes)), 0
        size = max(1, PART_OVERLAPS // len(anchors))
        parts = zip(torch.split(boxes, size), torch.split(valid, size), strict=True)
        for part, valid_part in parts:
            iou = iou_coordinates_first(coordinates_first(part)[..., None], corners)
            iou = iou.where(valid_part[:, None], 0)  # (B, R)
            value, index = iou.max(dim=0)
            best = torch.where(value > highest, index + start, best)
            highest = torch.maximum(highest, value)
            highest_of_box = iou.amax(dim=1, keepdim=True)
            is_best = (iou == highest_of_box) & (highest_of_box > 0)
            best_for_box = best_for_box | is_best.any(dim=0)
            start += len(part)
    return Overlaps(highest.where(mask.any(), NO_BOX), best, best_for_box)
