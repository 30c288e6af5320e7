"""The anchors whose predictions are best aligned with each box, for task-aligned assignment.

The alignment of an anchor and a box is s^alpha u^beta: s is the predicted score of the box's class,
and u the IoU of the predicted box with the box (TOOD, arXiv 2108.07755, equation 3).
:func:`align_in_tiles` is fast on the CPU; :func:`align_with_all` has fixed shapes.

Axes: R anchors, K classes, M boxes of one image, k best anchors, Q pairs of a tile and a box, T
anchors of a tile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from retina_plugin.layers.threads import run_in_threads
from retina_plugin.modeling.assigners import dense, tiles
from retina_plugin.modeling.assigners.overlaps import (
    coordinates_first,
    has_area,
    iou_coordinates_first,
)


class Aligned(NamedTuple):
    """The best anchors of each box.

    Attributes:
        candidates: (M, k) int64, indices of anchors.
        alignment: (M, k), in descending order; 0 where a box has fewer than k aligned anchors.
        iou: (M, k), the IoUs of the predicted boxes.
    """

    candidates: Tensor
    alignment: Tensor
    iou: Tensor


class Rule(NamedTuple):
    """How anchors are chosen: the number k, and the exponents of score and IoU."""

    topk: int
    alpha: float
    beta: float

    def alignment(self, logits: Tensor, iou: Tensor) -> Tensor:
        """Return the alignment from logits and IoUs of one shape."""
        return logits.to(iou.dtype).sigmoid().pow(self.alpha) * iou.pow(self.beta)


def align_with_all(
    logits: Tensor, predicted: Tensor, boxes: Tensor, labels: Tensor, rule: Rule
) -> Aligned:
    """Compare every box with every anchor, some boxes at a time to limit the memory.

    Args:
        logits: (R, K).
        predicted: (R, 4), the decoded boxes.
        boxes: (M, 4); M may be 0.
        labels: (M,) int64 in [0, K).
        rule: which anchors are best.
    """
    count, anchors = min(rule.topk, len(predicted)), coordinates_first(predicted)[:, None]
    empty = predicted.new_zeros(0, count)
    found = [Aligned(torch.zeros_like(empty, dtype=torch.int64), empty, empty)]
    size = max(1, dense.PART_OVERLAPS // max(len(predicted), 1))
    for part, label in zip(torch.split(boxes, size), torch.split(labels, size), strict=True):
        corners = coordinates_first(part)
        iou = iou_coordinates_first(corners[..., None], anchors)  # (B, R)
        # 0 for boxes without area, and for predicted boxes that are not finite
        iou = iou.where(has_area(corners)[:, None] & (iou > 0), 0)
        best, index = rule.alignment(logits.t()[label], iou).topk(count, dim=1)
        found.append(Aligned(index, best, iou.gather(1, index)))
    return Aligned(*(torch.cat(column) for column in zip(*found, strict=True)))


def align_in_tiles(
    logits: Tensor,
    decode: Callable[[slice], Tensor],
    boxes: Tensor,
    labels: Tensor,
    rule: Rule,
) -> Aligned:
    """Compute the same as :func:`align_with_all`, only from anchors that can be among the best.

    For each tile of anchors, only the highest IoU with each box that it intersects is computed
    first. The k tiles with the highest IoUs give a lower bound of a box's k-th best alignment. As a
    score is at most 1, other tiles are needed only if their IoU^beta reaches this bound.

    Args:
        logits, boxes, labels, rule: see :func:`align_with_all`.
        decode: returns the predicted boxes (P, 4) of a slice of the anchors.
    """
    count = min(rule.topk, len(logits))
    pairs = _Pairs(logits, coordinates_first(boxes), labels, rule)
    tile, box, highest = pairs.highest_of_tiles(decode)
    order, rank = _rank(box, highest, len(boxes))
    tile, box, highest = tile[order], box[order], highest[order]
    first = rank < count
    # (M, count, T): a box with fewer tiles has alignments of 0 in the other rows
    alignment = highest.new_zeros(len(boxes), count, tiles.TILE)
    index, iou = torch.zeros_like(alignment, dtype=torch.int64), torch.zeros_like(alignment)
    place = box[first], rank[first]
    index[place], alignment[place], iou[place] = pairs.values(tile[first], box[first])
    best, column = alignment.flatten(1).topk(count, dim=1)
    found = Aligned(index.flatten(1).gather(1, column), best, iou.flatten(1).gather(1, column))
    bound = best[:, -1] if count else highest.new_zeros(len(boxes))
    more = ~first & (highest.pow(rule.beta) >= bound[box])
    return _merge(found, *pairs.above(tile[more], box[more], bound)) if more.any() else found


class _Pairs:
    """Pairs of tiles of predicted boxes and ground-truth boxes."""

    def __init__(self, logits: Tensor, boxes: Tensor, labels: Tensor, rule: Rule) -> None:
        """Takes logits (R, K), boxes (4, M), labels (M,) and the rule."""
        self.logits, self.boxes, self.labels, self.rule = logits, boxes, labels, rule
        self.predicted = boxes.new_zeros(len(logits), 4)

    def highest_of_tiles(self, decode: Callable[[slice], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Decode all boxes, and return the pairs that overlap: tiles (Q,), boxes (Q,) and the
        highest IoU of each pair (Q,)."""
        none = torch.zeros(0, dtype=torch.int64, device=self.boxes.device)
        found = {-1: [(none, none, self.boxes.new_zeros(0))]}  # by the start of the part

        def compute_part(part: slice) -> None:
            self.predicted[part] = decode(part)
            parts, rows = tiles.to_tiles(self.predicted[part]), []
            for tile, box in tiles.group_tiles(tiles.intersects(parts, self.boxes)):
                iou = iou_coordinates_first(self.boxes[:, box, None], parts[:, tile, None])
                highest = iou.amax(dim=2)  # (G, W)
                # narrower tiles of the group repeat their last box
                used = F.pad(box[:, 1:] != box[:, :-1], (1, 0), value=True) & (highest > 0)
                tile = tile[:, None].expand_as(box) + part.start // tiles.TILE
                rows.append((tile[used], box[used], highest[used]))
            found[part.start] = rows

        step = tiles.PART_TILES * tiles.TILE
        parts = [
            slice(i, min(i + step, len(self.logits))) for i in range(0, len(self.logits), step)
        ]
        run_in_threads(compute_part, parts[::-1])
        # in the order of the anchors, so that the result does not depend on the threads
        ordered = [row for start in sorted(found) for row in found[start]]
        tile, box, highest = (torch.cat(column) for column in zip(*ordered, strict=True))
        return tile, box, highest

    def values(self, tile: Tensor, box: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the anchors, their alignments and their IoUs, (Q, T) each, for pairs (Q,)."""
        offsets = torch.arange(tiles.TILE, device=tile.device)
        index = tile[:, None] * tiles.TILE + offsets
        inside = index < len(self.logits)
        index = index.clamp(max=len(self.logits) - 1)
        alignment = self.boxes.new_empty(index.shape)
        iou = torch.empty_like(alignment)

        def compute_part(part: slice) -> None:
            anchors = coordinates_first(self.predicted[index[part]])
            found = iou_coordinates_first(self.boxes[:, box[part], None], anchors)
            found = found.where(inside[part], 0)  # the last tile may be filled
            logits = self.logits[index[part], self.labels[box[part], None]]
            alignment[part], iou[part] = self.rule.alignment(logits, found), found

        step = max(1, tiles.GROUP_ELEMENTS // tiles.TILE)
        run_in_threads(compute_part, [slice(i, i + step) for i in range(0, len(tile), step)])
        return index, alignment, iou

    def above(self, tile: Tensor, box: Tensor, bound: Tensor) -> tuple[Tensor, ...]:
        """Return box, anchor, alignment and IoU of all anchors of the pairs (Q,) whose alignment is
        above 0 and at least the bound (M,) of their box."""
        index, alignment, iou = self.values(tile, box)
        used = (alignment > 0) & (alignment >= bound[box, None])
        return box[:, None].expand_as(index)[used], index[used], alignment[used], iou[used]


def _merge(found: Aligned, box: Tensor, index: Tensor, alignment: Tensor, iou: Tensor) -> Aligned:
    """Return the best of ``found`` and of further anchors, each given with its box."""
    number, count = found.alignment.shape
    boxes = torch.arange(number, device=box.device)[:, None].expand(number, count)
    columns = [
        torch.cat([table.flatten(), more])
        for table, more in zip((boxes, *found), (box, index, alignment, iou), strict=True)
    ]
    order, rank = _rank(columns[0], columns[2], number)
    order, rank = order[rank < count], rank[rank < count]
    place = columns[0][order] * count + rank
    merged = [torch.zeros_like(table).flatten() for table in found]
    for table, values in zip(merged, columns[1:], strict=True):
        table[place] = values[order]
    return Aligned(*(table.view(number, count) for table in merged))


def _rank(group: Tensor, value: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """Sort by group, and by descending value in each group.

    Returns:
        The order (Q,), and the rank of each sorted entry in its group (Q,), from 0 on.
    """
    order = value.argsort(descending=True, stable=True)
    order = order[group[order].argsort(stable=True)]
    counts = torch.bincount(group, minlength=num_groups)
    start = counts.cumsum(dim=0) - counts
    return order, torch.arange(len(order), device=order.device) - start[group[order]]
