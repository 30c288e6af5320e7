"""Overlaps of anchors and boxes with fixed shapes: every box is compared with every anchor.

For accelerators, compilers and fake tensors. Some boxes at a time meet all anchors, so that memory
stays bounded and each box sees its best anchor at once.

Axes: R anchors, M boxes of one image, B boxes at a time.
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

# Overlaps computed at once, B * R (R alone, if it is larger). About five tables of this size are
# held at a time: 330 MiB of float32, whatever the number of boxes.
PART_OVERLAPS = 2**24


def overlaps_with_all(anchors: Tensor, boxes: Tensor, mask: Tensor) -> Overlaps:
    """Anchors (R, 4) and boxes (M, 4), of which the mask (M,) says which are not padding, both of
    one type; R and M may be 0."""
    highest = torch.zeros_like(anchors[:, 0])
    best = torch.zeros_like(highest, dtype=torch.int64)
    claimed = torch.zeros_like(best, dtype=torch.bool)
    if len(anchors) and len(boxes):
        corners = coordinates_first(anchors)[:, None]  # (4, 1, R)
        valid, start = mask & has_area(coordinates_first(boxes)), 0
        size = max(1, PART_OVERLAPS // len(anchors))
        for part, real in zip(boxes.split(size), valid.split(size), strict=True):
            iou = iou_coordinates_first(coordinates_first(part)[..., None], corners).where(
                real[:, None], 0
            )  # (B, R)
            value, index = iou.max(dim=0)
            best = torch.where(value > highest, index + start, best)
            highest = torch.maximum(highest, value)
            record = iou.amax(dim=1, keepdim=True)
            claimed = claimed | ((iou == record) & (record > 0)).any(dim=0)
            start += len(part)
    return Overlaps(highest.where(mask.any(), NO_BOX), best, claimed)
