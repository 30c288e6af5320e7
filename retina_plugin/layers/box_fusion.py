"""Weighted box fusion (Solovyev et al., arXiv 1910.13302): average the boxes of several views.

Axes: M boxes of one image.
"""

from __future__ import annotations

import torch
from torch import Tensor

from retina_plugin.layers.boxes import pairwise_iou

SMALLEST = 1e-12  # lowest weight of a box; avoids division by 0 if all scores are 0


def weighted_box_fusion(
    boxes: Tensor, scores: Tensor, groups: Tensor, *, num_views: int, iou_threshold: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Replace the boxes of each object by their mean, weighted by the scores.

    Boxes are added one after the other, highest score first. A box is added to the mean box of its
    group with which it has the highest IoU, if this IoU is above ``iou_threshold``; otherwise it
    becomes a new mean box. The score of a mean box is the mean of its scores, times
    min(``num_views``, number of its boxes) / ``num_views``. So an object that was detected in few
    views gets a lower score (section 3 of the paper).

    Args:
        boxes: (M, 4) XYXY pixels of all views; M may be 0.
        scores: (M,).
        groups: (M,) int64; boxes of different groups are not averaged.
        num_views: the number of views or detectors.
        iou_threshold: see above.

    Returns:
        (k, 4) mean boxes, (k,) their scores in descending order, and (k,) their groups.
    """
    device, dtype = boxes.device, boxes.dtype
    order = scores.cpu().sort(descending=True, stable=True).indices
    boxes, scores, groups = boxes.cpu().double()[order], scores.cpu()[order], groups.cpu()[order]
    weights = scores.double().clamp(min=SMALLEST)
    number, means, sums = 0, torch.zeros_like(boxes), torch.zeros_like(boxes)
    totals, counts = torch.zeros_like(weights), torch.zeros_like(weights)
    mean_groups = torch.full_like(groups, -1)
    for row in range(len(boxes)):
        index = _best_mean(
            boxes[row], means[:number], mean_groups[:number] == groups[row], iou_threshold
        )
        if index is None:
            index, number = number, number + 1
            mean_groups[index] = groups[row]
        sums[index] += weights[row] * boxes[row]
        totals[index] += weights[row]
        counts[index] += 1
        means[index] = sums[index] / totals[index]
    counts = counts[:number]
    found = totals[:number] / counts * counts.clamp(max=num_views) / num_views
    ranks = found.sort(descending=True, stable=True).indices
    return (
        means[:number][ranks].to(device, dtype),
        found[ranks].to(device, scores.dtype),
        mean_groups[:number][ranks].to(device),
    )


def _best_mean(box: Tensor, means: Tensor, allowed: Tensor, iou_threshold: float) -> int | None:
    """Return the index of the allowed box of ``means`` (k, 4) with the highest IoU with ``box``.

    Returns:
        None if no IoU is above the threshold.
    """
    if not allowed.any():
        return None
    overlaps = pairwise_iou(box[None], means)[0].masked_fill(~allowed, -1)
    highest, index = overlaps.max(dim=0)
    return int(index) if highest > iou_threshold else None
