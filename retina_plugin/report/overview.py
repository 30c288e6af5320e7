"""Summarize a data set: numbers of images and boxes, box sizes, and boxes that match an anchor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retina_plugin.data import Dataset


def overview(dataset: Dataset, matched: Sequence[float] | None = None) -> str:
    """Format a data set as a headline and a table with a row for each class; crowds do not count.

    The table has the number of boxes and the 5th, 50th and 95th percentile of their size, which is
    the square root of the area in pixels.

    Args:
        dataset: the data set.
        matched: K fractions of boxes that match an anchor, see
            :func:`retina_plugin.report.matched_shares`; None omits the column.
    """
    sizes: list[list[float]] = [[] for _ in dataset.class_names]
    empty = 0
    for record in dataset.records:
        objects = [a for a in record["annotations"] if not a["iscrowd"]]
        empty += not objects
        for annotation in objects:
            x0, y0, x1, y1 = annotation["bbox"]
            sizes[annotation["category_id"]].append(((x1 - x0) * (y1 - y0)) ** 0.5)
    total = sum(map(len, sizes))
    rows = [["class", "boxes", "size 5 %", "50 %", "95 %"]]
    rows += [
        [n, str(len(s)), *_percentiles(s)] for n, s in zip(dataset.class_names, sizes, strict=True)
    ]
    if matched is not None:
        column = ["matched", *("-" if np.isnan(share) else f"{share:.0%}" for share in matched)]
        rows = [[*row, cell] for row, cell in zip(rows, column, strict=True)]
    headline = (
        f"{dataset.name}: {len(dataset.records)} images, {empty} of them without boxes; {total} "
        "boxes"
    )
    return "\n".join([headline, *_align(rows)])


def _percentiles(sizes: list[float]) -> list[str]:
    return [f"{value:.0f}" for value in np.percentile(sizes, [5, 50, 95])] if sizes else ["-"] * 3


def _align(rows: list[list[str]]) -> list[str]:
    """Format rows of cells as lines, with the first column left-aligned and the others
    right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
