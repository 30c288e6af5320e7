"""Soft-NMS (Bodla et al., arXiv 1704.04503): lower the scores of overlapping boxes.

Axes: M boxes of one image, k kept boxes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from retina_plugin.layers.boxes import pairwise_iou

TABLE_BOXES = 1024  # the factors of at most so many boxes are computed at once, in 4 MiB


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor,
    *,
    method: str,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    max_kept: int,
) -> tuple[Tensor, Tensor]:
    """Take the box with the highest score, lower the scores of the others, and repeat.

    The score of another box is multiplied by a factor that depends on its IoU with the box that was
    taken. For "gaussian" the factor is exp(-IoU^2 / sigma) (equation 3 of the paper). For "linear"
    it is 1 - IoU if the IoU is at least ``iou_threshold``, otherwise 1 (equation 2).

    Scores never rise. It is therefore enough to process the best boxes first, and more boxes only
    if one of them could come before the last box that was kept.

    Args:
        boxes: (M, 4) XYXY pixels; M may be 0.
        scores: (M,) at least 0.
        groups: (M,) int64; boxes of different groups do not influence each other.
        method: "gaussian" or "linear".
        iou_threshold: for "linear".
        sigma: for "gaussian"; above 0.
        min_score: boxes whose score becomes lower are dropped.
        max_kept: maximum number of boxes.

    Returns:
        (k,) int64 indices of the boxes in the order in which they were taken, and (k,) their new
        scores, which do not increase.
    """
    gaussian = partial(_gaussian, sigma=sigma)
    linear = partial(_linear, threshold=iou_threshold)
    factor = gaussian if method == "gaussian" else linear
    order = scores.argsort(descending=True, stable=True)
    num_selected = 4 * max(max_kept, 1)
    while True:
        selected = order[:num_selected]
        rows, found = _take(
            boxes[selected], scores[selected], groups[selected], factor, max_kept=max_kept
        )
        others = scores[order[num_selected : num_selected + 1]]  # the best of them, or none
        if not len(others) or others < min_score or (len(found) and others <= found[-1]):
            kept = found >= min_score
            return selected[rows[kept]], found[kept]
        num_selected *= 4


def _take(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor,
    factor: Callable[[Tensor], Tensor],
    *,
    max_kept: int,
) -> tuple[Tensor, Tensor]:
    """Return the rows of the boxes that are taken, and their new scores."""

    def factors(row: Tensor | slice) -> Tensor:
        same = groups[row, None] == groups
        return factor(pairwise_iou(boxes[row], boxes)).where(same, boxes.new_ones(()))

    table = factors(slice(None)) if len(boxes) <= TABLE_BOXES else None
    remaining, taken = scores.clone(), torch.zeros_like(scores)
    rows, found = [groups[:0]], [scores[:0]]
    for _ in range(min(max_kept, len(boxes))):
        score, row = (remaining + taken).max(dim=0, keepdim=True)
        rows.append(row)
        found.append(score)
        taken.index_fill_(0, row, -torch.inf)
        remaining *= (factors(row) if table is None else table.index_select(0, row))[0]
    return torch.cat(rows), torch.cat(found)


def _gaussian(iou: Tensor, *, sigma: float) -> Tensor:
    return torch.exp(-(iou**2) / sigma)


def _linear(iou: Tensor, *, threshold: float) -> Tensor:
    return torch.where(iou >= threshold, 1 - iou, torch.ones_like(iou))
