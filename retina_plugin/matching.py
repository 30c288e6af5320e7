"""Which anchor answers for which ground-truth box.

Axes: R anchors, M boxes of one image, C anchors of one chunk.
"""

from __future__ import annotations

import torch
from torch import Tensor

from retina_plugin.boxes import pairwise_iou

# IoU values held at once. 2**21 float32 numbers and their temporaries stay near 50 MB however many anchors and boxes there are.
CHUNK_ELEMENTS = 2**21


@torch.no_grad()
def match_anchors(
    anchors: Tensor,
    gt_boxes: Tensor,
    gt_classes: Tensor,
    *,
    num_classes: int,
    thresholds: tuple[float, float],
) -> tuple[Tensor, Tensor]:
    """Label every anchor of one image (RetinaNet, arXiv 1708.02002, section 4; low-quality matches: arXiv 1506.01497, section 3.1.2).

    An anchor takes the box that it overlaps most. At an IoU of at least ``thresholds[1]`` it learns the class of that box, below
    ``thresholds[0]`` it is background, and between them it is ignored. The anchors that overlap a box more than any other anchor does,
    ties included, learn the class of their own best box even below the thresholds, so that small boxes are learnt at all.
    A box that overlaps no anchor (one of zero area, say) claims none; in Detectron2's matcher it claims every anchor of IoU 0.

    Args:
        anchors: (R, 4) XYXY pixels.
        gt_boxes: (M, 4) XYXY pixels; M may be 0, then all is background.
        gt_classes: (M,) int64 in [0, num_classes).
        num_classes: K.
        thresholds: (background below, foreground from).

    Returns:
        labels: (R,) int64: a class, ``num_classes`` for background, -1 for ignored.
        matches: (R,) int64 index into ``gt_boxes`` of the best box; 0 where M is 0.
    """
    matches = torch.zeros(len(anchors), dtype=torch.int64, device=anchors.device)
    if len(gt_boxes) == 0:
        return matches + num_classes, matches
    chunks = range(0, len(anchors), max(1, CHUNK_ELEMENTS // len(gt_boxes)))
    overlaps = torch.empty(len(anchors), device=anchors.device)
    best_per_chunk = overlaps.new_zeros(len(chunks), len(gt_boxes))
    for row, part in enumerate(_slices(chunks, len(anchors))):
        iou = pairwise_iou(gt_boxes, anchors[part])  # (M, C)
        overlaps[part], matches[part] = iou.max(dim=0)
        best_per_chunk[row] = iou.amax(dim=1)
    low, high = thresholds
    positive = overlaps >= high
    positive |= _best_of_a_box(anchors, gt_boxes, best_per_chunk, chunks)
    labels = torch.where(overlaps < low, num_classes, -1)
    return torch.where(positive, gt_classes[matches], labels), matches


def _slices(chunks: range, total: int) -> list[slice]:
    return [slice(start, min(start + chunks.step, total)) for start in chunks]


def _best_of_a_box(anchors: Tensor, gt_boxes: Tensor, best_per_chunk: Tensor, chunks: range) -> Tensor:
    """(R,) bool: anchors that reach the highest IoU of some box. Only chunks that hold such a highest value are looked at again."""
    best = best_per_chunk.amax(dim=0)  # (M,)
    winners = (best_per_chunk == best) & (best > 0)
    is_best = torch.zeros(len(anchors), dtype=torch.bool, device=anchors.device)
    for row, part in enumerate(_slices(chunks, len(anchors))):
        boxes = winners[row].nonzero()[:, 0]
        if len(boxes):
            is_best[part] = (pairwise_iou(gt_boxes[boxes], anchors[part]) == best[boxes, None]).any(dim=0)
    return is_best
