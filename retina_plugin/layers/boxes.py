"""Area, intersection over union (IoU) and clipping of boxes.

Boxes are XYXY in absolute pixels: (x0, y0) is the upper left corner, (x1, y1) the lower right
corner, and the width is x1 - x0 (no "+ 1"). Axes: M and R are numbers of boxes.
"""

from __future__ import annotations

import torch
from torch import Tensor


def area(boxes: Tensor) -> Tensor:
    """Return the area of each box: (M, 4) -> (M,) square pixels.

    The area of a box with zero or negative width or height is 0.
    """
    sizes = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    return sizes[..., 0] * sizes[..., 1]


def intersection(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Return the intersection area of every pair: (M, 4) and (R, 4) -> (M, R) square pixels."""
    lower = torch.max(boxes1[:, None, :2], boxes2[:, :2])  # (M, R, 2)
    upper = torch.min(boxes1[:, None, 2:], boxes2[:, 2:])
    sizes = (upper - lower).clamp_(min=0)
    return sizes[..., 0] * sizes[..., 1]


def pairwise_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Return the IoU of every pair.

    Args:
        boxes1: (M, 4).
        boxes2: (R, 4).

    Returns:
        (M, R) in [0, 1]; 0 if a box of the pair has no area. M and R may be 0.
    """
    shared = intersection(boxes1, boxes2)
    union = area(boxes1)[:, None] + area(boxes2) - shared
    return torch.where(shared > 0, shared / union, shared.new_zeros(()))


def elementwise_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Return the IoU of each box with the box in the same row: (M, 4) and (M, 4) -> (M,) in [0, 1].

    The IoU is 0 if a box of the pair has no area.
    """
    lower = torch.max(boxes1[:, :2], boxes2[:, :2])
    upper = torch.min(boxes1[:, 2:], boxes2[:, 2:])
    shared = (upper - lower).clamp(min=0).prod(dim=1)
    union = area(boxes1) + area(boxes2) - shared
    return torch.where(shared > 0, shared / union, shared.new_zeros(()))


def clip(boxes: Tensor, image_size: tuple[float, float]) -> Tensor:
    """Clip (M, 4) boxes to an image of ``image_size`` = (height, width) pixels."""
    return boxes.clamp(min=0).minimum(whwh(*image_size, like=boxes))


def whwh(height: float | Tensor, width: float | Tensor, *, like: Tensor) -> Tensor:
    """Return (width, height, width, height) as a tensor (4,).

    Args:
        height, width: two numbers, or two 0-dimensional tensors while ``torch.jit.trace`` runs.
        like: a tensor with the dtype and device of the result.
    """
    if isinstance(height, Tensor) and isinstance(width, Tensor):
        # new_tensor would record the values as constants of the trace
        return torch.stack([width, height, width, height]).to(like)
    return like.new_tensor([width, height, width, height])
