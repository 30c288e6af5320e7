"""Assign anchors to ground-truth boxes by IoU.

Anchors lie on grids, so that consecutive ones lie close together. They are taken in tiles, each
tile is compared with those boxes only that reach into it, and tiles with about as many such boxes
are worked on together. No other pair overlaps: the result is that of comparing all with all, for
anchors in any order.

Axes: R anchors, M boxes of one image, C tiles of T anchors, G tiles of one group, W boxes of each
of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from retina_plugin.config.errors import ConfigError
from retina_plugin.layers.threads import in_threads
from retina_plugin.modeling.assigners.registry import ASSIGNER_REGISTRY
from retina_plugin.modeling.structures import (
    BACKGROUND,
    IGNORED,
    Anchors,
    Assignment,
    Predictions,
    Target,
)

TILE = 128  # T: a few cells of one row of the grid

# Tiles of one piece of work.
PART_TILES = {"cpu": 256, "other": 2**24}

# Overlaps computed at once: on the CPU a few such tables of float32 stay in the cache.
GROUP_ELEMENTS = {"cpu": 2**17, "other": 2**21}

# Numbers of tiles, numbers of boxes, and the highest overlap of that box in that tile.
Pairs = tuple[Tensor, Tensor, Tensor]


def _thresholds(cfg: Any) -> tuple[float, float]:
    """``IOU_THRESHOLDS`` and ``IOU_LABELS`` as (background below, object from)."""
    retinanet = cfg.MODEL.RETINANET
    thresholds, labels = list(retinanet.IOU_THRESHOLDS), list(retinanet.IOU_LABELS)
    known = (len(thresholds), labels) in ((1, [0, 1]), (2, [0, -1, 1]))
    if not known or thresholds != sorted(thresholds):
        raise ConfigError(
            "MODEL.RETINANET.IOU_THRESHOLDS and IOU_LABELS must be [low, high] with [0, -1, 1], or "
            f"[one] with [0, 1], found {thresholds} with {labels}"
        )
    return thresholds[0], thresholds[-1]


@ASSIGNER_REGISTRY.register(reads={"thresholds": _thresholds})
class MaxIoUAssigner:
    """An anchor learns the box that it overlaps most, if it overlaps it enough; see
    :func:`match_anchors`."""

    def __init__(self, *, thresholds: tuple[float, float]) -> None:
        """
        Args:
            thresholds: IoU, (background below, object from); between them anchors are ignored.
        """
        self.thresholds = thresholds

    def __call__(
        self, anchors: Anchors, targets: Sequence[Target], predictions: Predictions | None = None
    ) -> Assignment:
        """See :class:`retina_plugin.modeling.assigners.Assigner`; the predictions are not used."""
        matches = []
        for target in targets:
            best, negative, background = _match(anchors.boxes, target["boxes"], self.thresholds)
            best = best.masked_fill_(negative, IGNORED)
            matches.append(best.masked_fill_(background, BACKGROUND))
        return Assignment(torch.stack(matches))


@torch.no_grad()
def match_anchors(
    anchors: Tensor,
    gt_boxes: Tensor,
    gt_classes: Tensor,
    *,
    num_classes: int,
    thresholds: tuple[float, float],
) -> tuple[Tensor, Tensor]:
    """Label every anchor of one image (RetinaNet, arXiv 1708.02002, section 4; low-quality matches:
    arXiv 1506.01497, section 3.1.2).

    An anchor takes the box that it overlaps most. At an IoU of at least ``thresholds[1]`` it learns
    the class of that box, below ``thresholds[0]`` it is background, and between them it is ignored.
    The anchors that overlap a box more than any other anchor does, ties included, learn the class
    of their own best box even below the thresholds, so that small boxes are learnt at all. A box
    that overlaps no anchor (one of zero area, say) claims none; in Detectron2's matcher it claims
    every anchor of IoU 0.

    Args:
        anchors: (R, 4) XYXY pixels.
        gt_boxes: (M, 4) XYXY pixels, compared in the type of ``anchors``; M may be 0, then all is
            background.
        gt_classes: (M,) integers in [0, num_classes).
        num_classes: K.
        thresholds: (background below, foreground from).

    Returns:
        labels: (R,) int64: a class, ``num_classes`` for background, -1 for ignored.
        matches: (R,) int64 index into ``gt_boxes`` of the best box; 0 where M is 0.
    """
    best, negative, background = _match(anchors, gt_boxes, thresholds)
    if len(gt_boxes) == 0:
        return torch.full_like(best, num_classes), best
    labels = gt_classes.long().index_select(0, best).masked_fill_(negative, -1)
    return labels.masked_fill_(background, num_classes), best


@torch.no_grad()
def _match(
    anchors: Tensor, gt_boxes: Tensor, thresholds: tuple[float, float]
) -> tuple[Tensor, Tensor, Tensor]:
    """Anchors (R, 4) and boxes (M, 4) -> the best box of each anchor (R,) int64, 0 where M is 0;
    which anchors are no positives (R,) bool; which of these are background (R,) bool."""
    overlaps = anchors.new_zeros(len(anchors))
    matches = torch.zeros_like(overlaps, dtype=torch.int64)
    if len(gt_boxes) == 0:
        everything = torch.ones_like(matches, dtype=torch.bool)
        return matches, everything, everything
    boxes, pairs = _planes(gt_boxes.to(anchors.dtype)), []

    def one_part(part: slice) -> None:
        overlaps[part], matches[part], found = _best_boxes(anchors[part], boxes)
        pairs.extend((tile + part.start // TILE, box, reached) for tile, box, reached in found)

    cpu = anchors.device.type == "cpu"
    step = PART_TILES["cpu" if cpu else "other"] * TILE
    parts = [slice(start, start + step) for start in range(0, len(anchors), step)]
    # large anchors, which meet most boxes, come last
    in_threads(one_part, parts[::-1], threads=None if cpu else 1)
    low, high = thresholds
    negative = (overlaps < high).index_fill_(0, _winners(anchors, boxes, pairs), False)
    return matches, negative, negative & (overlaps < low)


def _planes(boxes: Tensor) -> Tensor:
    """(..., 4) -> (4, ...): x0, y0, x1 and y1, each in memory of its own."""
    return boxes.movedim(-1, 0).contiguous()


def _best_boxes(anchors: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, list[Pairs]]:
    """Anchors (R, 4) and planes of boxes (4, M) -> the highest overlap of each anchor (R,), with
    which box (R,), 0 where there is none, and the highest overlap of each box in each tile that it
    reaches into."""
    fill = anchors[-1:].expand(-len(anchors) % TILE, 4)  # repeating the last one changes no maximum
    tiles = _planes(torch.cat([anchors, fill]).view(-1, TILE, 4))  # (4, C, T)
    overlaps, found = torch.zeros_like(tiles[0]), []
    matches = torch.zeros_like(overlaps, dtype=torch.int64)
    for tile, box in _groups(_meet(tiles, boxes)):
        iou = _iou(boxes[:, box, None], tiles[:, tile, None])  # (G, W, T)
        found.append(
            (tile[:, None].expand_as(box).flatten(), box.flatten(), iou.amax(dim=2).flatten())
        )
        overlaps[tile] = highest = iou.amax(dim=1)  # (G, T)
        rows = torch.arange(iou.shape[1], dtype=iou.dtype, device=iou.device)[:, None]
        # of equals; max(dim=1) is slow
        first = rows.where(iou == highest[:, None], iou.shape[1]).amin(dim=1).long()
        matches[tile] = box.gather(1, first).where(highest > 0, 0)
    return overlaps.flatten()[: len(anchors)], matches.flatten()[: len(anchors)], found


def _meet(tiles: Tensor, boxes: Tensor) -> Tensor:
    """(C, M) bool: the box has an area and reaches into the smallest box around the tile."""
    lower, upper = tiles[:2].amin(dim=2)[..., None], tiles[2:].amax(dim=2)[..., None]  # (2, C, 1)
    has_area = (boxes[2:] - boxes[:2]).clamp(min=0).prod(dim=0) > 0
    return ((boxes[:2, None] < upper) & (boxes[2:, None] > lower)).all(dim=0) & has_area


def _groups(meet: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Tiles (G,) with the boxes (G, W) that they meet, in rising order; shorter lists repeat their
    last box, which changes no maximum. Tiles without boxes are left out."""
    limit = GROUP_ELEMENTS["cpu" if meet.device.type == "cpu" else "other"] // TILE
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


def _iou(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Intersection over union of planes that broadcast, boxes with an area; the numbers of
    :func:`retina_plugin.layers.boxes.pairwise_iou`, to the bit, which makes an anchor's overlap
    comparable with the highest one."""
    sizes = [(x[2:] - x[:2]).clamp_(min=0) for x in (boxes, anchors)]
    # (2, ...)
    shared = torch.min(boxes[2:], anchors[2:]).sub_(torch.max(boxes[:2], anchors[:2])).clamp_(min=0)
    shared = shared[0].mul_(shared[1])
    return shared / (sizes[0].prod(dim=0) + sizes[1].prod(dim=0)).sub_(shared)


def _winners(anchors: Tensor, boxes: Tensor, pairs: list[Pairs]) -> Tensor:
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
        .split(max(1, GROUP_ELEMENTS["cpu"] // TILE))
    ):
        index = (tile[part, None] * TILE + lane).clamp_(max=len(anchors) - 1)
        iou = _iou(boxes[:, box[part], None], _planes(anchors[index]))
        winners.append(index[iou == best[box[part], None]])
    return torch.cat(winners)
