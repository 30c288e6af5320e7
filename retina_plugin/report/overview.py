"""A data set in a few lines: how many images, how often each class occurs, how large its boxes are."""

from __future__ import annotations

import numpy as np

from retina_plugin.data import Dataset


def overview(dataset: Dataset) -> str:
    """Images, and for each class its boxes (crowds not counted) and their sizes: the 5th, 50th and 95th of a hundred, in pixels.

    The size of a box is the root of its area, so that it compares with ``MODEL.ANCHOR_GENERATOR.SIZES``.
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
    lines = [f"{dataset.name}: {len(dataset.records)} images, {empty} of them without boxes; {total} boxes"]
    width = max(5, *map(len, dataset.class_names))
    lines.append(f"{'class':<{width}}  boxes  sizes in pixels (5 %, half, 95 %)")
    lines += [
        f"{name:<{width}}  {len(found):5d}  {_percentiles(found)}"
        for name, found in zip(dataset.class_names, sizes, strict=True)
    ]
    return "\n".join(lines)


def _percentiles(sizes: list[float]) -> str:
    return "  ".join(f"{value:.0f}" for value in np.percentile(sizes, [5, 50, 95])) if sizes else "none"
