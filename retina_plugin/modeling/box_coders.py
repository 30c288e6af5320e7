"""How a box is written relative to an anchor, for a head to predict.

Boxes are XYXY in absolute pixels. Axes: P pairs of a box and an anchor, D numbers that code a box.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from retina_plugin.config.registry import Registry
from retina_plugin.modeling.structures import Anchors

BOX_CODERS = Registry("box coder", node="MODEL.RETINA_PLUGIN.BOX_CODER")

# exp(dw) is cut at 1000 / 16, so that one wild prediction of a young network cannot overflow.
MAX_LOG_SCALE = math.log(1000.0 / 16)


@BOX_CODERS.register(reads={"weights": "MODEL.RETINANET.BBOX_REG_WEIGHTS"})
class DeltaCoder:
    """Shift and growth of an anchor: (dx, dy, dw, dh), as in R-CNN and RetinaNet."""

    dim = 4  # D, what the head predicts for each anchor

    def __init__(self, *, weights: Sequence[float]) -> None:
        """
        Args:
            weights: four factors of (dx, dy, dw, dh).
        """
        self.weights = tuple(weights)

    def encode(self, boxes: Tensor, anchors: Anchors) -> Tensor:
        """Boxes (P, 4) and as many anchors -> deltas (P, 4); see :func:`encode`."""
        return encode(boxes, anchors.boxes, weights=self.weights)

    def decode(self, deltas: Tensor, anchors: Anchors) -> Tensor:
        """Deltas (P, 4) and as many anchors -> boxes (P, 4); see :func:`decode`."""
        return decode(deltas, anchors.boxes, weights=self.weights)


def _centre_form(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """XYXY -> centres (M, 2) and sizes (M, 2)."""
    sizes = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * sizes, sizes


def _factors(weights: Sequence[float], like: Tensor) -> Tensor:
    """(4,), filled in where the tensor is: a copy to an accelerator waits for it."""
    return torch.stack([like.new_full((), weight) for weight in weights])


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
    return torch.cat([shifts, scales], dim=-1) * _factors(weights, boxes)


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
    deltas = deltas / _factors(weights, deltas)
    centres, sizes = _centre_form(anchors.to(deltas.dtype))
    centres = deltas[..., :2] * sizes + centres
    half = 0.5 * deltas[..., 2:].clamp(max=MAX_LOG_SCALE).exp() * sizes
    return torch.cat([centres - half, centres + half], dim=-1)
