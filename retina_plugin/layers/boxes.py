"""Boxes as tensors: area, intersection over union, clipping.

Boxes are XYXY in absolute pixels: (x0, y0) is the upper left corner, (x1, y1) the lower right one,
without a "+ 1". Axes: M and R are numbers of boxes.
"""

from __future__ import annotations

import torch
from torch import Tensor


def area(boxes: Tensor) -> Tensor:
    """(M, 4) -> (M,) square pixels; 0 for a box of zero or negative width or height."""
    sizes = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    return sizes[..., 0] * sizes[..., 1]


def intersection(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Area shared by every pair: (M, 4) x (R, 4) -> (M, R) square pixels."""
    lower = torch.max(boxes1[:, None, :2], boxes2[:, :2])  # (M, R, 2)
    upper = torch.min(boxes1[:, None, 2:], boxes2[:, 2:])
    sizes = (upper - lower).clamp_(min=0)
    return sizes[..., 0] * sizes[..., 1]


def pairwise_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Intersection over union of every pair.

    Args:
        boxes1: (M, 4).
        boxes2: (R, 4).

    Returns:
        (M, R) in [0, 1]; 0 where both boxes are empty, shape (0, R) or (M, 0) where a side has no
        boxes.
    """
    shared = intersection(boxes1, boxes2)
    union = area(boxes1)[:, None] + area(boxes2) - shared
    return torch.where(shared > 0, shared / union, shared.new_zeros(()))


def elementwise_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Intersection over union of boxes in pairs: (M, 4) and (M, 4) -> (M,) in [0, 1]; 0 where both
    are empty."""
    lower = torch.max(boxes1[:, :2], boxes2[:, :2])
    upper = torch.min(boxes1[:, 2:], boxes2[:, 2:])
    shared = (upper - lower).clamp(min=0).prod(dim=1)
    union = area(boxes1) + area(boxes2) - shared
    return torch.where(shared > 0, shared / union, shared.new_zeros(()))


def clip(boxes: Tensor, image_size: tuple[float, float]) -> Tensor:
    """Cut (M, 4) boxes at the borders of an image of ``image_size`` = (height, width) pixels."""
    return boxes.clamp(min=0).minimum(whwh(*image_size, like=boxes))


def whwh(height: float | Tensor, width: float | Tensor, *, like: Tensor) -> Tensor:
    """(4,) as (width, height, width, height), of the type and device of ``like``.

    Args:
        height, width: numbers, or tensors of one element, which a trace follows; ``new_tensor``
            would record their values.
        like: any tensor.
    """
    if isinstance(height, Tensor):
        return torch.stack([width, height, width, height]).to(like)
    return like.new_tensor([width, height, width, height])
