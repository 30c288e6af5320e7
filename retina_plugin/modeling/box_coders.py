"""Box coders: encode boxes relative to anchors, and decode the predictions of a head.

Boxes are XYXY in absolute pixels. Axes: P or M pairs of a box and an anchor, D numbers that encode
a box.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from retina_plugin.config.registry import Registry
from retina_plugin.modeling.structures import Anchors

BOX_CODERS = Registry("box coder", node="MODEL.RETINA_PLUGIN.BOX_CODER")

# dw and dh are clamped to log(1000 / 16), so that exp() cannot overflow early in training.
MAX_LOG_SCALE = math.log(1000.0 / 16)


@BOX_CODERS.register(reads={"weights": "MODEL.RETINANET.BBOX_REG_WEIGHTS"})
class DeltaCoder:
    """Encodes a box as (dx, dy, dw, dh) relative to an anchor, as in R-CNN and RetinaNet."""

    dim = 4  # D, the number of values that the head predicts for the box of each anchor

    def __init__(self, *, weights: Sequence[float]) -> None:
        """
        Args:
            weights: four factors, for dx, dy, dw and dh.
        """
        self.weights = tuple(weights)

    def encode(self, boxes: Tensor, anchors: Anchors) -> Tensor:
        """Encode boxes (P, 4) relative to P anchors -> deltas (P, 4); see :func:`encode`."""
        return encode(boxes, anchors.boxes, weights=self.weights)

    def decode(self, deltas: Tensor, anchors: Anchors) -> Tensor:
        """Decode deltas (P, 4) relative to P anchors -> boxes (P, 4); see :func:`decode`."""
        return decode(deltas, anchors.boxes, weights=self.weights)


def _centre_form(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the centres (M, 2) and sizes (M, 2) of XYXY boxes."""
    sizes = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * sizes, sizes


def _factors(weights: Sequence[float], like: Tensor) -> Tensor:
    """Return the weights as a tensor (4,) with the dtype and device of ``like``.

    It is filled on the device, because a copy from the CPU would wait for an accelerator.
    """
    return torch.stack([like.new_full((), weight) for weight in weights])


def encode(
    boxes: Tensor, anchors: Tensor, *, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)
) -> Tensor:
    """Encode each box relative to its anchor (R-CNN, arXiv 1311.2524, appendix C).

    Args:
        boxes: (M, 4).
        anchors: (M, 4), with positive width and height.
        weights: factors for (dx, dy, dw, dh).

    Returns:
        (M, 4) as (dx, dy, dw, dh): the shift of the centre divided by the anchor's size, and the
        logarithm of the box's size divided by the anchor's size. All values are finite, even for a
        box of size zero.
    """
    centres, sizes = _centre_form(boxes)
    anchor_centres, anchor_sizes = _centre_form(anchors)
    shifts = (centres - anchor_centres) / anchor_sizes
    scales = (sizes / anchor_sizes).clamp(min=torch.finfo(sizes.dtype).tiny).log()
    return torch.cat([shifts, scales], dim=-1) * _factors(weights, boxes)


def decode(
    deltas: Tensor, anchors: Tensor, *, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)
) -> Tensor:
    """Decode deltas to boxes, the inverse of :func:`encode`.

    A box is at most 1000 / 16 times as wide and high as its anchor.

    Args:
        deltas: (M, 4) as (dx, dy, dw, dh); lower precisions are converted to float32.
        anchors: (M, 4).
        weights: the weights that were passed to :func:`encode`.

    Returns:
        (M, 4) XYXY, not clipped to any image.
    """
    deltas = deltas.to(torch.promote_types(deltas.dtype, torch.float32))
    deltas = deltas / _factors(weights, deltas)
    centres, sizes = _centre_form(anchors.to(deltas.dtype))
    centres = deltas[..., :2] * sizes + centres
    half = 0.5 * deltas[..., 2:].clamp(max=MAX_LOG_SCALE).exp() * sizes
    return torch.cat([centres - half, centres + half], dim=-1)
