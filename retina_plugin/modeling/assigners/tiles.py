"""Overlaps of anchors and boxes, fast on the CPU.

Anchors lie on grids, so that consecutive ones lie close together. They are taken in tiles, each
tile is compared with those boxes only that reach into it, and tiles with about as many such boxes
are worked on together. No other pair overlaps: the result is that of comparing all with all, for
anchors in any order.

Axes: R anchors, M boxes of one image, C tiles of T anchors, G tiles of one group, W boxes of each
of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from retina_plugin.layers.threads import run_in_threads
from retina_plugin.modeling.assigners.overlaps import (
    NO_BOX,
    Overlaps,
    coordinates_first,
    has_area,
    iou_coordinates_first,
)

TILE = 128  # T: a few cells of one row of the grid
PART_TILES = 256  # tiles of one piece of work
GROUP_ELEMENTS = 2**17  # overlaps computed at once; a few such tables of float32 stay in the cache

# Numbers of tiles, numbers of boxes, and the highest overlap of that box in that tile.
Pairs = tuple[Tensor, Tensor, Tensor]


def overlaps_in_tiles(anchors: Tensor, boxes: Tensor) -> Overlaps:
    """Anchors (R, 4) and boxes (M, 4), both of one type; R and M may be 0."""
    highest = anchors.new_zeros(len(anchors))
    best = torch.zeros_like(highest, dtype=torch.int64)
    claimed = torch.zeros_like(best, dtype=torch.bool)
    if len(boxes) == 0:
        return Overlaps(highest.fill_(NO_BOX), best, claimed)
    boxes, pairs = coordinates_first(boxes), []

    def one_part(part: slice) -> None:
        highest[part], best[part], found = _best_boxes(anchors[part], boxes)
        pairs.extend((tile + part.start // TILE, box, reached) for tile, box, reached in found)

    step = PART_TILES * TILE
    parts = [slice(start, start + step) for start in range(0, len(anchors), step)]
    run_in_threads(one_part, parts[::-1])  # large anchors, which meet most boxes, come last
    return Overlaps(
        highest, best, claimed.index_fill_(0, _best_for_boxes(anchors, boxes, pairs), True)
    )


def _best_boxes(anchors: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, list[Pairs]]:
    """Anchors (R, 4) and planes of boxes (4, M) -> the highest overlap of each anchor (R,), with
    which box (R,), 0 where there is none, and the highest overlap of each box in each tile that it
    reaches into."""
    fill = anchors[-1:].expand(-len(anchors) % TILE, 4)  # repeating the last one changes no maximum
    tiles = coordinates_first(torch.cat([anchors, fill]).view(-1, TILE, 4))  # (4, C, T)
    overlaps, found = torch.zeros_like(tiles[0]), []
    matches = torch.zeros_like(overlaps, dtype=torch.int64)
    for tile, box in _groups(_intersects(tiles, boxes)):
        iou = iou_coordinates_first(boxes[:, box, None], tiles[:, tile, None])  # (G, W, T)
        found.append(
            (tile[:, None].expand_as(box).flatten(), box.flatten(), iou.amax(dim=2).flatten())
        )
        overlaps[tile] = highest = iou.amax(dim=1)  # (G, T)
        rows = torch.arange(iou.shape[1], dtype=iou.dtype, device=iou.device)[:, None]
        # of equals; max(dim=1) is slow
        first = rows.where(iou == highest[:, None], iou.shape[1]).amin(dim=1).long()
        matches[tile] = box.gather(1, first).where(highest > 0, 0)
    return overlaps.flatten()[: len(anchors)], matches.flatten()[: len(anchors)], found


def _intersects(tiles: Tensor, boxes: Tensor) -> Tensor:
    """(C, M) bool: the box has an area and reaches into the smallest box around the tile."""
    lower, upper = tiles[:2].amin(dim=2)[..., None], tiles[2:].amax(dim=2)[..., None]  # (2, C, 1)
    return ((boxes[:2, None] < upper) & (boxes[2:, None] > lower)).all(dim=0) & has_area(boxes)


def _groups(meet: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Tiles (G,) with the boxes (G, W) that they meet, in rising order; shorter lists repeat their
    last box, which changes no maximum. Tiles without boxes are left out."""
    limit = GROUP_ELEMENTS // TILE
    box = meet.nonzero()[:, 1]  # of every pair, tile by tile
    counts = meet.sum(dim=1)
    first = counts.cumsum(dim=0) - counts
    counts, order = counts.sort(descending=True)
    widths, start, groups = counts[counts > 0].tolist(), 0, []
    while start < len(widths):
        part = slice(start, min(start + max(1, limit // widths[start]), len(widths)))
        # (G, W)
        column = torch.arange(widths[start], device=box.device).minimum(counts[part, None] - 1)
        groups.append((order[part], box[first[order[part], None] + column]))
        start = part.stop
    return groups


def _best_for_boxes(anchors: Tensor, boxes: Tensor, pairs: list[Pairs]) -> Tensor:
    """Indices of the anchors that overlap some box more than any other anchor does. Only tiles that
    hold such a highest overlap are looked at again."""
    if not pairs:
        return torch.zeros(0, dtype=torch.int64, device=boxes.device)
    tile, box, reached = (torch.cat(x) for x in zip(*pairs, strict=True))
    best = reached.new_zeros(boxes.shape[1]).scatter_reduce_(0, box, reached, "amax")
    winners, lane = [], torch.arange(TILE, device=tile.device)
    for part in (
        ((reached == best[box]) & (reached > 0))
        .nonzero()[:, 0]
        .split(max(1, GROUP_ELEMENTS // TILE))
    ):
        index = (tile[part, None] * TILE + lane).clamp_(max=len(anchors) - 1)
        iou = iou_coordinates_first(boxes[:, box[part], None], coordinates_first(anchors[index]))
        winners.append(index[iou == best[box[part], None]])
    return torch.cat(winners)
