"""Merge the parts of objects that were detected in several slices of an image.

Axes: M boxes of one image.
"""

from __future__ import annotations

import torch
from torch import Tensor

from retina_plugin.layers.boxes import area, intersection


def overlap_of_smaller(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Return intersection / area of the smaller box for every pair: (M, 4) and (R, 4) -> (M, R) in
    [0, 1]; 0 if a box has no area."""
    shared = intersection(boxes1, boxes2)
    smaller = torch.minimum(area(boxes1)[:, None], area(boxes2))
    return torch.where(shared > 0, shared / smaller, shared.new_zeros(()))


def greedy_merge(
    boxes: Tensor, scores: Tensor, groups: Tensor, *, threshold: float, max_kept: int
) -> tuple[Tensor, Tensor]:
    """Merge boxes that overlap, as SAHI's greedy non-maximum merging does.

    1. The box with the highest score takes all boxes of its group whose :func:`overlap_of_smaller`
       with it is at least ``threshold``.
    2. It is enlarged to enclose them, one after the other by descending score. A box whose overlap
       with the enlarged box is below ``threshold`` is dropped without being enclosed.
    3. The same is repeated with the boxes that are left.

    Part of an object that was cut by a slice has a low IoU with the whole object, but lies inside
    its box. Therefore the overlap is measured relative to the smaller box.

    Args:
        boxes: (M, 4) XYXY pixels; M may be 0.
        scores: (M,).
        groups: (M,) int64; boxes of different groups are not merged.
        threshold: above 0.
        max_kept: maximum number of boxes.

    Returns:
        (k,) int64 indices of the boxes that were kept, highest score first, and (k, 4) the merged
        boxes.
    """
    device, boxes, groups = boxes.device, boxes.cpu(), groups.cpu()
    order = scores.cpu().sort(descending=True, stable=True).indices
    free = torch.ones(len(boxes), dtype=torch.bool)
    rows: list[int] = []
    merged = [boxes[:0]]
    for row in order.tolist():
        if not free[row]:
            continue
        if len(rows) == max_kept:
            break
        overlaps = overlap_of_smaller(boxes[row][None], boxes)[0]
        taken = free & (groups == groups[row]) & (overlaps >= threshold)
        taken[row] = True
        free &= ~taken
        rows.append(row)
        others = [other for other in order[taken[order]].tolist() if other != row]
        merged.append(_enclose(boxes[row][None], boxes[others], threshold))
    return torch.tensor(rows, dtype=torch.int64, device=device), torch.cat(merged).to(device)


def _enclose(box: Tensor, others: Tensor, threshold: float) -> Tensor:
    """Enlarge a box (1, 4) to enclose each of ``others``; skip those that overlap it too little."""
    for row in range(len(others)):
        other = others[row : row + 1]
        if overlap_of_smaller(box, other) >= threshold:
            box = torch.cat(
                [torch.minimum(box[:, :2], other[:, :2]), torch.maximum(box[:, 2:], other[:, 2:])],
                dim=1,
            )
    return box
