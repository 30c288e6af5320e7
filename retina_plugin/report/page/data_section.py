"""Statistics of the training images and the evaluated images."""

from __future__ import annotations

from typing import Any

import numpy as np

from retina_plugin.data import Dataset, DatasetError, load_dataset
from retina_plugin.report.page.html import Html, section, table, tag
from retina_plugin.report.page.numbers import number
from retina_plugin.report.page.run_report import RunReport

PERCENTILES = (5, 50, 95)


def data_section(run: RunReport, prefix: str) -> Html | None:
    """Build the section; None without a data set."""
    parts = []
    for name in run.cfg.DATASETS.TRAIN:
        try:
            parts.append(_of_set(load_dataset(name), "training images"))
        except DatasetError:  # a note of the page says so
            continue
    parts += [_of_set(analysis.dataset, "evaluated images") for analysis in run.analyses]
    return section(f"{prefix}data", "Data", *parts) if parts else None


def _of_set(dataset: Dataset, role: str) -> Html:
    """Build the table of a data set, with the size of a box as the root of its area."""
    sizes: list[list[float]] = [[] for _ in dataset.class_names]
    with_class = np.zeros(dataset.num_classes, dtype=int)
    per_image, empty = [], 0
    for record in dataset.records:
        entries = [a for a in record["annotations"] if not a["iscrowd"]]
        for entry in entries:
            x0, y0, x1, y1 = entry["bbox"]
            sizes[entry["category_id"]].append(((x1 - x0) * (y1 - y0)) ** 0.5)
        with_class[list({entry["category_id"] for entry in entries})] += 1
        per_image.append(len(entries))
        empty += not entries
    total = max(sum(map(len, sizes)), 1)
    rows: list[list[Any]] = [
        [name, len(s), f"{len(s) / total:.1%}", int(images), *_percentiles(s)]
        for name, s, images in zip(dataset.class_names, sizes, with_class, strict=True)
    ]
    rows.sort(key=lambda row: -row[1])
    text = (
        f"{role}, {dataset.name}: {len(dataset.records)} images, {empty} of them without boxes; "
        f"{sum(per_image)} boxes, {np.mean(per_image):.1f} in an image and at most {max(per_image)}"
    )
    head = ["class", "boxes", "share", "images", *(f"size {p}%" for p in PERCENTILES)]
    warnings = [tag("li", line) for line in dataset.warnings]
    return tag(
        "div",
        table(head, rows, caption=f"{text}. Size: root of the area in pixels, by percentile"),
        tag("ul", *warnings) if warnings else None,
    )


def _percentiles(sizes: list[float]) -> list[str]:
    if not sizes:
        return [number(None)] * len(PERCENTILES)
    return [f"{value:.0f}" for value in np.percentile(sizes, PERCENTILES)]
