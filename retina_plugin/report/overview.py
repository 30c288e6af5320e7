"""A data set in a few lines: how many images, how often each class occurs, how large its boxes are,
how many an anchor comes close to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retina_plugin.data import Dataset


def overview(dataset: Dataset, matched: Sequence[float] | None = None) -> str:
    """A line on the images and a table with a row for each class; crowds are not counted.

    The size of a box is the root of its area in pixels of the image: of a hundred boxes the 5th,
    the 50th and the 95th.

    Args:
        dataset: any.
        matched: share of boxes that an anchor comes close to, for each class, NaN for none; see
            :func:`retina_plugin.report.matched_shares`. None leaves the column out.
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
    return "\n".join([headline, *_aligned(rows)])


def _percentiles(sizes: list[float]) -> list[str]:
    return [f"{value:.0f}" for value in np.percentile(sizes, [5, 50, 95])] if sizes else ["-"] * 3


def _aligned(rows: list[list[str]]) -> list[str]:
    """Rows of cells as lines: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
