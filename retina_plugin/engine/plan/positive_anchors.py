"""Find the positive anchors of ATSS for boxes at random places."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from retina_plugin.engine.plan.anchors import MAX_BOXES, OFFSETS, AnchorShapes, Array
from retina_plugin.modeling.assigners.atss import select_by_iou

CHUNK = 4096  # boxes that are compared at a time, so that little memory is needed


def positive_overlaps(boxes: Array, anchors: AnchorShapes, *, topk: int, seed: int = 0) -> Array:
    """Return the mean IoU of each box with its positive anchors.

    The assigner's own rule chooses the positives, for a box far from the border and from other
    boxes. Each box is put at :data:`retina_plugin.engine.plan.anchors.OFFSETS` random positions
    between the centres of cells, or at one if there are many boxes.

    Args:
        boxes: (B, 2) width and height in pixels of the network's input.
        anchors: the anchors of the pyramid.
        topk: see :class:`retina_plugin.modeling.assigners.ATSSAssigner`.
        seed: the seed of the positions.

    Returns:
        (B, positions) from 0 to 1; 0 if no anchor is positive.
    """
    places = OFFSETS if len(boxes) <= MAX_BOXES else 1
    sides = torch.from_numpy(np.repeat(boxes, places, axis=0)).float()
    generator = torch.Generator().manual_seed(seed)
    positions = torch.rand(len(sides), 2, generator=generator) - 0.5
    means = [
        _mean_of_positives(part, candidates(position, anchors, topk=topk))
        for part, position in zip(
            torch.split(sides, CHUNK), torch.split(positions, CHUNK), strict=True
        )
    ]
    found: Array = torch.cat(means).view(len(boxes), places).double().numpy()
    return found


def _mean_of_positives(sides: Tensor, anchors: Tensor) -> Tensor:
    """Return the mean IoU (M,) of boxes with these sides (M, 2) and centre 0 with those of the
    anchors (M, C, 4) that are positive."""
    positive, iou = select_by_iou(torch.cat([-sides, sides], dim=1) / 2, anchors)
    return iou.where(positive, 0).sum(dim=1) / positive.sum(dim=1).clamp(min=1)


def candidates(positions: Tensor, anchors: AnchorShapes, *, topk: int) -> Tensor:
    """Return the anchors of the ``topk`` cells of each level that are closest to each box.

    Args:
        positions: (M, 2) x and y of the boxes, from the centre of the nearest cell, in cells of any
            level, -0.5 to 0.5.
        anchors: L levels with A anchors per cell.
        topk: k.

    Returns:
        (M, L * k * A, 4) XYXY pixels, relative to the centre of each box.
    """
    reach = math.ceil(math.sqrt(topk / math.pi)) + 1  # the circle of k cells, and a margin
    line = torch.arange(-reach, reach + 1.0)
    offsets = torch.cartesian_prod(line, line) - positions[:, None]
    near = offsets.square().sum(dim=2).topk(topk, largest=False).indices
    offsets = offsets.gather(1, near[..., None].expand(-1, -1, 2))[:, :, None]  # (M, k, 1, 2)
    shapes, strides = (torch.from_numpy(table).float() for table in anchors.shapes())
    found = [
        torch.cat([offsets * stride - half, offsets * stride + half], dim=3).flatten(1, 2)
        for half, stride in zip(
            torch.split(shapes / 2, anchors.per_cell), strides[:: anchors.per_cell], strict=True
        )
    ]
    return torch.cat(found, dim=1)
