"""Format tables of the boxes of a data set and the share of them that anchors reach."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from retina_plugin.config.printable import printable
from retina_plugin.engine.plan.anchors import Array
from retina_plugin.engine.plan.input_size import InputSize
from retina_plugin.engine.plan.profile import DataProfile

MOST_ROWS = 30
BOUNDS = (8, 16, 32, 64, 128, 256, 512)  # of the rows of sizes, pixels of the network's input


def reached_boxes(
    profile: DataProfile, size: InputSize, before: Array, after: Array, *, threshold: float = 0.5
) -> list[str]:
    """Return a table with a row for each class, and one with a row for each range of sizes.

    Args:
        profile: profile of the training set.
        size: the network's input size; sizes of boxes are given at this size.
        before, after: (B,) how often each box is reached by Detectron2's anchors and by the planned
            anchors, from 0 to 1; see :func:`retina_plugin.engine.plan.anchors.reached_shares`.
        threshold: the IoU of these anchors.
    """
    return [
        "Boxes, their sizes (root of the area; 10, 50 and 90%) in pixels of the network's input,",
        f"and the share that anchors reach with IoU {threshold:g}, by default and in this plan:",
        *_class_rows(profile, size, before, after),
        *_size_rows(profile.sizes_at(size.short_side), before, after),
    ]


def _class_rows(
    profile: DataProfile, size: InputSize, before: Array, after: Array
) -> Iterator[str]:
    sizes = profile.sizes_at(size.short_side)
    names = [printable(name) for name in profile.class_names]
    width = max(map(len, ("class", *names[:MOST_ROWS])))
    yield f"{'class':<{width}}   boxes   10%   50%   90%  default   plan"
    for k, name in enumerate(names[:MOST_ROWS]):
        own = profile.labels == k
        if not own.any():
            yield f"{name:<{width}}       0"
            continue
        low, middle, high = np.percentile(sizes[own], (10, 50, 90))
        yield (
            f"{name:<{width}} {own.sum():>7} {low:>5.0f} {middle:>5.0f} {high:>5.0f} "
            f"{before[own].mean():>8.0%} {after[own].mean():>6.0%}"
        )
    if len(names) > MOST_ROWS:
        yield f"... and {len(names) - MOST_ROWS} more classes"


def _size_rows(sizes: Array, before: Array, after: Array) -> Iterator[str]:
    """Yield a header, and a row for each range that has boxes."""
    yield f"{'pixels':<11} boxes  default   plan"
    rows = np.searchsorted(BOUNDS, sizes, side="right")
    for row in np.unique(rows):
        own = rows == row
        yield (
            f"{_range(int(row)):<11} {own.sum():>5} {before[own].mean():>8.0%} "
            f"{after[own].mean():>6.0%}"
        )


def _range(row: int) -> str:
    if row == len(BOUNDS):
        return f"{BOUNDS[-1]} and more"
    return f"{BOUNDS[row - 1]} to {BOUNDS[row]}" if row else f"below {BOUNDS[0]}"
