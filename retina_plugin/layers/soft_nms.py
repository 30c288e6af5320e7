"""Soft-NMS (Bodla et al., arXiv 1704.04503): lower the scores of overlapping boxes.

Axes: M boxes of one image.
"""

from __future__ import annotations

import torch
from torch import Tensor

from retina_plugin.layers.boxes import pairwise_iou


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

    No step reads a value back from the device, so an accelerator need not wait.

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
    remaining, taken = scores, torch.zeros_like(scores, dtype=torch.bool)
    rows, new_scores = [groups[:0]], [scores[:0]]
    for _ in range(min(max_kept, len(boxes))):
        score, row = remaining.masked_fill(taken, -1).max(dim=0, keepdim=True)
        rows.append(row)
        new_scores.append(score)
        taken = taken.index_fill(0, row, True)
        iou = pairwise_iou(boxes[row], boxes)[0]
        if method == "gaussian":
            factor = torch.exp(-(iou**2) / sigma)
        else:
            factor = torch.where(iou >= iou_threshold, 1 - iou, torch.ones_like(iou))
        remaining = torch.where(groups == groups[row], remaining * factor, remaining)
    found = torch.cat(new_scores)
    kept = found >= min_score
    return torch.cat(rows)[kept], found[kept]
