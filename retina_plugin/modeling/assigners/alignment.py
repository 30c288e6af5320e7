"""Find the anchors whose predictions are best aligned with each box, for task-aligned assignment.

The alignment of an anchor and a box is s^alpha u^beta. s is the predicted score of the box's class,
and u is the IoU of the predicted box with the box (TOOD, arXiv 2108.07755, equation 3).
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

FIRST_TILES = 4  # number of tiles per box that give the lower bound of its alignments
# Relative tolerance for rounding errors. The power of a number can have another last digit at
# another place in a tensor, because the last elements are not computed by vector instructions.
SLACK = 1e-4


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
    """Return the result of :func:`align_with_all`, but skip anchors that cannot be among the best.

    First, the highest IoU of each tile of anchors with each box that it intersects is computed. The
    tiles with the highest IoUs give a lower bound of the k-th best alignment of a box. A score is
    at most 1, so only anchors with IoU^beta of at least this bound can be among the best.
    Alignments are computed for these anchors only.

    Args:
        logits, boxes, labels, rule: see :func:`align_with_all`.
        decode: returns the predicted boxes (P, 4) of a slice of the anchors.
    """
    count = min(rule.topk, len(logits))
    if count == 0 or len(boxes) == 0:
        return _best(*(boxes.new_zeros(0) for _ in range(4)), shape=(len(boxes), count))
    pairs = _Pairs(logits, coordinates_first(boxes), labels, rule)
    tile, box, highest = pairs.highest_of_tiles(decode)
    bound = pairs.bounds(tile, box, highest, count)
    used = highest.pow(rule.beta) >= bound[box]
    return _best(*pairs.above(tile[used], box[used], bound), shape=(len(boxes), count))


class _Pairs:
    """Pairs of tiles of predicted boxes and ground-truth boxes."""

    def __init__(self, logits: Tensor, boxes: Tensor, labels: Tensor, rule: Rule) -> None:
        """Take logits (R, K), boxes (4, M), labels (M,) and the rule."""
        self.logits, self.boxes, self.labels, self.rule = logits, boxes, labels, rule
        self.tiles = boxes.new_zeros(4, -(-len(logits) // tiles.TILE), tiles.TILE)

    def highest_of_tiles(self, decode: Callable[[slice], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Decode all boxes, and return the pairs of a tile and a box that overlap.

        Returns:
            Tiles (Q,), boxes (Q,) and the highest IoU of each pair (Q,).
        """
        none = torch.zeros(0, dtype=torch.int64, device=self.boxes.device)
        found = {-1: [(none, none, self.boxes.new_zeros(0))]}  # by the start of the part

        def compute_part(part: slice) -> None:
            parts, rows, start = tiles.to_tiles(decode(part)), [], part.start // tiles.TILE
            self.tiles[:, start : start + parts.shape[1]] = parts
            for tile, box in tiles.group_tiles(tiles.intersects(parts, self.boxes)):
                iou = iou_coordinates_first(self.boxes[:, box, None], parts[:, tile, None])
                highest = iou.amax(dim=2)  # (G, W)
                # narrower tiles of the group repeat their last box
                used = F.pad(box[:, 1:] != box[:, :-1], (1, 0), value=True) & (highest > 0)
                tile = tile[:, None].expand_as(box) + start
                rows.append((tile[used], box[used], highest[used]))
            found[part.start] = rows

        step, number = tiles.PART_TILES * tiles.TILE, len(self.logits)
        slices = [slice(start, min(start + step, number)) for start in range(0, number, step)]
        run_in_threads(compute_part, slices[::-1])
        # in the order of the anchors, so that the result does not depend on the threads
        ordered = [row for start in sorted(found) for row in found[start]]
        tile, box, highest = (torch.cat(column) for column in zip(*ordered, strict=True))
        return tile, box, highest

    def bounds(self, tile: Tensor, box: Tensor, highest: Tensor, count: int) -> Tensor:
        """Return a lower bound of the ``count``-th best alignment of each box, (M,).

        It is the lowest alignment of ``count`` anchors with high IoUs, or 0 for a box that overlaps
        fewer than ``count`` anchors.
        """
        order, rank = _rank(box, highest, len(self.labels))
        number = max(FIRST_TILES, -(-count // tiles.TILE))
        first = rank < number
        tile, box, place = tile[order][first], box[order][first], rank[first]
        iou = highest.new_zeros(len(self.labels), number, tiles.TILE)
        of_box = torch.zeros_like(iou[..., 0], dtype=torch.int64)
        iou[box, place], of_box[box, place] = self.iou(tile, box), tile
        best, column = iou.flatten(1).topk(count, dim=1)
        anchor = of_box.gather(1, column // tiles.TILE) * tiles.TILE + column % tiles.TILE
        # entries with IoU 0 can lie in the padding of the last tile
        anchor = anchor.clamp(max=len(self.logits) - 1)
        lowest = self.rule.alignment(self.logits[anchor, self.labels[:, None]], best).amin(dim=1)
        return lowest * (1 - SLACK)

    def iou(self, tile: Tensor, box: Tensor) -> Tensor:
        """Return the IoUs (Q, T) of pairs (Q,); 0 for the padding of the last tile."""
        iou = iou_coordinates_first(self.boxes[:, box, None], self.tiles[:, tile])
        offsets = torch.arange(tiles.TILE, device=tile.device)
        return iou.where(tile[:, None] * tiles.TILE + offsets < len(self.logits), 0)

    def above(self, tile: Tensor, box: Tensor, bound: Tensor) -> tuple[Tensor, ...]:
        """Return box, anchor, alignment and IoU of all anchors of the pairs (Q,) whose alignment is
        above 0 and at least the bound (M,) of their box."""
        found: dict[int, tuple[Tensor, ...]] = {}
        least = bound.pow(1 / self.rule.beta) * (1 - SLACK)

        def compute_part(part: slice) -> None:
            iou, of_box = self.iou(tile[part], box[part]), box[part]
            row, column = ((iou >= least[of_box, None]) & (iou > 0)).nonzero(as_tuple=True)
            anchor, of_box, iou = (
                tile[part][row] * tiles.TILE + column,
                of_box[row],
                iou[row, column],
            )
            alignment = self.rule.alignment(self.logits[anchor, self.labels[of_box]], iou)
            used = (alignment > 0) & (alignment >= bound[of_box])
            found[part.start] = tuple(x[used] for x in (of_box, anchor, alignment, iou))

        step = max(1, tiles.GROUP_ELEMENTS // tiles.TILE)
        run_in_threads(
            compute_part, [slice(i, i + step) for i in range(0, max(len(tile), 1), step)]
        )
        columns = zip(*(found[start] for start in sorted(found)), strict=True)
        return tuple(torch.cat(column) for column in columns)


def _best(
    box: Tensor, index: Tensor, alignment: Tensor, iou: Tensor, *, shape: tuple[int, int]
) -> Aligned:
    """Return the k best anchors of each box.

    Args:
        box, index: (Q,) the box and the anchor of each pair.
        alignment, iou: (Q,) the alignment and the IoU of each pair.
        shape: M and k.
    """
    box, index = box.long(), index.long()
    order, rank = _rank(box, alignment, shape[0])
    order, rank = order[rank < shape[1]], rank[rank < shape[1]]
    place = box[order], rank
    tables = [values.new_zeros(shape) for values in (index, alignment, iou)]
    for table, values in zip(tables, (index, alignment, iou), strict=True):
        table[place] = values[order]
    return Aligned(*tables)


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
