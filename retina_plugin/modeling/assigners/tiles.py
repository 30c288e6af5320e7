"""IoUs of anchors and boxes, fast on the CPU.

Anchors lie on grids, so consecutive anchors are close together. They are divided into tiles of T
consecutive anchors, and each tile is compared only with the boxes that intersect its bounding box.
All other pairs have an IoU of 0, so the result is exact, for anchors in any order. Tiles with
similar numbers of intersecting boxes are processed together as a group.

Axes: R anchors, M boxes of one image, C tiles, T anchors of a tile, G tiles of a group, W boxes of
each tile of the group.
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

TILE = 128  # T, the anchors of a few cells in one row of the grid
PART_TILES = 256  # tiles that one thread processes at a time
GROUP_ELEMENTS = 2**17  # IoUs computed at once; a few float32 tensors of this size fit in the cache

# Indices of tiles, indices of boxes, and the highest IoU of the box with an anchor of the tile.
Pairs = tuple[Tensor, Tensor, Tensor]


def overlaps_in_tiles(anchors: Tensor, boxes: Tensor) -> Overlaps:
    """Compute the overlaps of anchors (R, 4) and boxes (M, 4) of one dtype; R and M may be 0."""
    highest = anchors.new_zeros(len(anchors))
    best = torch.zeros_like(highest, dtype=torch.int64)
    best_for_box = torch.zeros_like(best, dtype=torch.bool)
    if len(boxes) == 0:
        return Overlaps(highest.fill_(NO_BOX), best, best_for_box)
    boxes = coordinates_first(boxes)
    pairs: list[Pairs] = []

    def compute_part(part: slice) -> None:
        highest[part], best[part], found = _best_boxes(anchors[part], boxes)
        pairs.extend((tile + part.start // TILE, box, iou) for tile, box, iou in found)

    step = PART_TILES * TILE
    parts = [slice(start, start + step) for start in range(0, len(anchors), step)]
    # the last anchors are the largest and intersect most boxes, so they take longest
    run_in_threads(compute_part, parts[::-1])
    return Overlaps(
        highest, best, best_for_box.index_fill_(0, _best_for_boxes(anchors, boxes, pairs), True)
    )


def _best_boxes(anchors: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, list[Pairs]]:
    """Compute the best box of each anchor.

    Args:
        anchors: (R, 4).
        boxes: (4, M).

    Returns:
        The highest IoU of each anchor (R,); the index of its best box (R,), 0 if no box overlaps;
        and the highest IoU of each box with the anchors of each tile that it intersects.
    """
    tiles = to_tiles(anchors)
    overlaps = torch.zeros_like(tiles[0])
    found: list[Pairs] = []
    matches = torch.zeros_like(overlaps, dtype=torch.int64)
    for tile, box in group_tiles(intersects(tiles, boxes)):
        iou = iou_coordinates_first(boxes[:, box, None], tiles[:, tile, None])  # (G, W, T)
        found.append(
            (tile[:, None].expand_as(box).flatten(), box.flatten(), iou.amax(dim=2).flatten())
        )
        overlaps[tile] = highest = iou.amax(dim=1)  # (G, T)
        rows = torch.arange(iou.shape[1], dtype=iou.dtype, device=iou.device)[:, None]
        # the first box in a tie; max(dim=1) would be slow
        first = rows.where(iou == highest[:, None], iou.shape[1]).amin(dim=1).long()
        matches[tile] = box.gather(1, first).where(highest > 0, 0)
    return overlaps.flatten()[: len(anchors)], matches.flatten()[: len(anchors)], found


def to_tiles(anchors: Tensor) -> Tensor:
    """Divide boxes (R, 4) into tiles (4, C, T).

    The last tile is padded with copies of the last box, so maxima over a tile do not change.
    """
    fill = anchors[-1:].expand(-len(anchors) % TILE, 4)
    return coordinates_first(torch.cat([anchors, fill]).view(-1, TILE, 4))


def intersects(tiles: Tensor, boxes: Tensor) -> Tensor:
    """Return (C, M) bool: whether the box has an area and intersects the tile's bounding box."""
    lower, upper = tiles[:2].amin(dim=2)[..., None], tiles[2:].amax(dim=2)[..., None]  # (2, C, 1)
    return ((boxes[:2, None] < upper) & (boxes[2:, None] > lower)).all(dim=0) & has_area(boxes)


def group_tiles(intersects: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Group the tiles by their number of intersecting boxes.

    Args:
        intersects: (C, M) bool from :func:`intersects`.

    Returns:
        The tiles (G,) and their boxes (G, W) of each group, boxes in ascending order. Tiles with
        fewer than W boxes repeat their last box, which changes no maximum. Tiles without boxes are
        left out.
    """
    limit = GROUP_ELEMENTS // TILE
    box = intersects.nonzero()[:, 1]  # the box of every pair, ordered by tile
    counts = intersects.sum(dim=1)
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
    """Return the indices of the anchors with the highest IoU of all anchors with some box.

    IoUs are computed again only in those tiles that contain the highest IoU of a box.
    """
    if not pairs:
        return torch.zeros(0, dtype=torch.int64, device=boxes.device)
    tile, box, highest = (torch.cat(x) for x in zip(*pairs, strict=True))
    best = highest.new_zeros(boxes.shape[1]).scatter_reduce_(0, box, highest, "amax")
    indices, offsets = [], torch.arange(TILE, device=tile.device)
    selected = ((highest == best[box]) & (highest > 0)).nonzero()[:, 0]
    for part in torch.split(selected, max(1, GROUP_ELEMENTS // TILE)):
        index = (tile[part, None] * TILE + offsets).clamp_(max=len(anchors) - 1)
        iou = iou_coordinates_first(boxes[:, box[part], None], coordinates_first(anchors[index]))
        indices.append(index[iou == best[box[part], None]])
    return torch.cat(indices)
