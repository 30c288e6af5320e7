"""Boxes as tensors: area, intersection over union, and the coding of a box relative to an anchor.

Boxes are XYXY in absolute pixels: (x0, y0) is the upper left corner, (x1, y1) the lower right one,
without a "+ 1". Axes: M and R are numbers of boxes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# exp(dw) is cut at 1000 / 16, so that one wild prediction of a young network cannot overflow.
MAX_LOG_SCALE = math.log(1000.0 / 16)


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


def _centre_form(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """XYXY -> centres (M, 2) and sizes (M, 2)."""
    sizes = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * sizes, sizes


def encode(
    boxes: Tensor, anchors: Tensor, *, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)
) -> Tensor:
    """Write each box relative to its anchor (R-CNN, arXiv 1311.2524, appendix C).

    Args:
        boxes: (M, 4).
        anchors: (M, 4), of positive width and height.
        weights: factors of (dx, dy, dw, dh).

    Returns:
        (M, 4) as (dx, dy, dw, dh): the shift in anchor sizes, the logarithm of the ratio of sizes.
        Finite for a box of zero size.
    """
    centres, sizes = _centre_form(boxes)
    anchor_centres, anchor_sizes = _centre_form(anchors)
    shifts = (centres - anchor_centres) / anchor_sizes
    scales = (sizes / anchor_sizes).clamp(min=torch.finfo(sizes.dtype).tiny).log()
    return torch.cat([shifts, scales], dim=-1) * boxes.new_tensor(weights)


def decode(
    deltas: Tensor, anchors: Tensor, *, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)
) -> Tensor:
    """The inverse of :func:`encode`, in float32 at least, with the growth of a box cut at a factor
    of 1000 / 16.

    Args:
        deltas: (M, 4) as (dx, dy, dw, dh).
        anchors: (M, 4).
        weights: as given to :func:`encode`.

    Returns:
        (M, 4) XYXY, not clipped to any image.
    """
    deltas = deltas.to(torch.promote_types(deltas.dtype, torch.float32))
    deltas = deltas / deltas.new_tensor(weights)
    centres, sizes = _centre_form(anchors.to(deltas.dtype))
    centres = deltas[..., :2] * sizes + centres
    half = 0.5 * deltas[..., 2:].clamp(max=MAX_LOG_SCALE).exp() * sizes
    return torch.cat([centres - half, centres + half], dim=-1)


def clip(boxes: Tensor, image_size: tuple[float, float]) -> Tensor:
    """Cut (M, 4) boxes at the borders of an image of ``image_size`` = (height, width) pixels."""
    return boxes.clamp(min=0).minimum(by_coordinate(*image_size, like=boxes))


def by_coordinate(height: float | Tensor, width: float | Tensor, *, like: Tensor) -> Tensor:
    """(4,) as (width, height, width, height), of the type and device of ``like``.

    Args:
        height, width: numbers, or tensors of one element, which a trace follows; ``new_tensor``
            would record their values.
        like: any tensor.
    """
    if isinstance(height, Tensor):
        return torch.stack([width, height, width, height]).to(like)
    return like.new_tensor([width, height, width, height])
