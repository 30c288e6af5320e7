"""Measure which boxes of a data set the anchors reach, and format tables of them.

Axes: B boxes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retina_plugin.config.keys import NODE, PLUGIN_KEYS
from retina_plugin.config.printable import printable
from retina_plugin.engine.plan.anchors import (
    AnchorShapes,
    Array,
    mean_of_classes,
    reached_shares,
)
from retina_plugin.engine.plan.given import Given
from retina_plugin.engine.plan.input_size import InputSize
from retina_plugin.engine.plan.losses import assigner, positive_threshold
from retina_plugin.engine.plan.plan import Entry
from retina_plugin.engine.plan.positive_anchors import positive_overlaps
from retina_plugin.engine.plan.profile import DataProfile

MOST_ROWS = 30
BOUNDS = (8, 16, 32, 64, 128, 256, 512)  # of the rows of sizes, pixels of the network's input
TOPK = f"{NODE}.ASSIGNER.ATSSAssigner.TOPK"


class Column(NamedTuple):
    """A column of the tables: its name, a value for each box (B,), and the format of a mean."""

    name: str
    values: Array
    style: str


@dataclass(frozen=True)
class ReachedBoxes:
    """How well Detectron2's anchors and those of a plan reach the boxes.

    Attributes:
        assigner: the assigner of the plan.
        heading: what the columns are.
        columns: the columns, with a value for each box.
        summary: the means over classes.
    """

    assigner: Entry
    heading: tuple[str, ...]
    columns: tuple[Column, ...]
    summary: str


def measure_reached(
    profile: DataProfile,
    size: InputSize,
    *,
    default: AnchorShapes,
    planned: AnchorShapes,
    given: Given,
) -> ReachedBoxes:
    """Choose the assigner, and measure which boxes the anchors reach in training, as it sees it.

    Args:
        profile: profile of the training set.
        size: the network's input size.
        default, planned: Detectron2's anchors, and those of the plan.
        given: the values on the command line.
    """
    boxes = profile.boxes_at(size.object_side)
    topk = given.get(TOPK, PLUGIN_KEYS[TOPK].default)
    found = [positive_overlaps(boxes, a, topk=topk) for a in (default, planned)]
    share, before, after = (found[1] > 0).mean(axis=1), *(iou.mean(axis=1) for iou in found)
    chosen = assigner(given, positive_share=mean_of_classes(share, profile.labels))
    if chosen.value == "ATSSAssigner":
        return _of_atss(chosen, share, before, after, profile.labels)
    threshold = positive_threshold(given)
    before, after = (reached_shares(boxes, a, threshold=threshold) for a in (default, planned))
    return _of_threshold(chosen, threshold, before, after, profile.labels)


def _of_threshold(
    chosen: Entry, threshold: float, default: Array, plan: Array, labels: NDArray[np.int64]
) -> ReachedBoxes:
    before, after = (mean_of_classes(share, labels) for share in (default, plan))
    return ReachedBoxes(
        chosen,
        (f"and the share that anchors reach with IoU {threshold:g}, by default and in this plan:",),
        (Column("default", default, ".0%"), Column("plan", plan, ".0%")),
        f"{after:.0%} of the boxes have an anchor with IoU {threshold:g} (mean over classes), with "
        f"Detectron2's anchors {before:.0%}",
    )


def _of_atss(
    chosen: Entry, share: Array, default: Array, plan: Array, labels: NDArray[np.int64]
) -> ReachedBoxes:
    means = [mean_of_classes(values, labels) for values in (share, default, plan)]
    return ReachedBoxes(
        chosen,
        (
            "the share with a positive anchor in this plan, and the mean IoU of positive anchors,",
            "by default and in this plan:",
        ),
        (
            Column("positive", share, ".0%"),
            Column("default", default, ".2f"),
            Column("plan", plan, ".2f"),
        ),
        f"{means[0]:.0%} of the boxes get positive anchors, with a mean IoU of {means[2]:.2f} "
        f"(means over classes), with Detectron2's anchors {means[1]:.2f}",
    )


def reached_boxes(profile: DataProfile, size: InputSize, reached: ReachedBoxes) -> list[str]:
    """Return a table with a row for each class, and one with a row for each range of sizes.

    Args:
        profile: profile of the training set.
        size: the network's input size; sizes of boxes are given at this size.
        reached: the columns.
    """
    return [
        "Boxes, their sizes (root of the area; 10, 50 and 90%) in pixels of the network's input,",
        *reached.heading,
        *_class_rows(profile, size, reached.columns),
        *_size_rows(profile.sizes_at(size.short_side), reached.columns),
    ]


def _class_rows(
    profile: DataProfile, size: InputSize, columns: tuple[Column, ...]
) -> Iterator[str]:
    sizes = profile.sizes_at(size.short_side)
    names = [printable(name) for name in profile.class_names]
    width = max(map(len, ("class", *names[:MOST_ROWS])))
    yield f"{'class':<{width}}   boxes   10%   50%   90%{_header(columns)}"
    for k, name in enumerate(names[:MOST_ROWS]):
        own = profile.labels == k
        if not own.any():
            yield f"{name:<{width}}       0"
            continue
        low, middle, high = np.percentile(sizes[own], (10, 50, 90))
        yield (
            f"{name:<{width}} {own.sum():>7} {low:>5.0f} {middle:>5.0f} {high:>5.0f}"
            f"{_means(columns, own)}"
        )
    if len(names) > MOST_ROWS:
        yield f"... and {len(names) - MOST_ROWS} more classes"


def _size_rows(sizes: Array, columns: tuple[Column, ...]) -> Iterator[str]:
    """Yield a header, and a row for each range that has boxes."""
    yield f"{'pixels':<11} boxes{_header(columns)}"
    rows = np.searchsorted(BOUNDS, sizes, side="right")
    for row in np.unique(rows):
        own = rows == row
        yield f"{_range(int(row)):<11} {own.sum():>5}{_means(columns, own)}"


def _header(columns: tuple[Column, ...]) -> str:
    return "".join(f"{column.name:>{len(column.name) + 2}}" for column in columns)


def _means(columns: tuple[Column, ...], own: NDArray[np.bool_]) -> str:
    """Format the means of the boxes that ``own`` (B,) selects."""
    return "".join(
        f"{format(column.values[own].mean(), column.style):>{len(column.name) + 2}}"
        for column in columns
    )


def _range(row: int) -> str:
    if row == len(BOUNDS):
        return f"{BOUNDS[-1]} and more"
    return f"{BOUNDS[row - 1]} to {BOUNDS[row]}" if row else f"below {BOUNDS[0]}"
