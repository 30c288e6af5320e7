"""The confusion matrix, or for many classes its largest entries."""

from __future__ import annotations

from typing import Any

import numpy as np

from retina_plugin.evaluation.analysis import Analysis
from retina_plugin.report.page.html import Html, note, section, table, tag
from retina_plugin.report.page.numbers import percent

MOST_CLASSES = 30  # of a matrix that is shown
MOST_PAIRS = 20  # of classes that are listed
BACKGROUND = "background"
RULE = (
    "Rows are true classes and columns are detected ones. Row background: detections where no "
    "object is annotated, or its box is already taken. Column background: objects that were not "
    "detected. Shades are shares of the boxes of the true class. Detections have at least the "
    "score threshold of their class. A detection and a box are paired if their IoU is at least "
    "0.5, those of one class first; so the sums agree with precision and recall above."
)


def confusion_section(one: Analysis, prefix: str) -> Html:
    """Build the section."""
    names = [*one.dataset.class_names, BACKGROUND]
    parts = [_pairs(one.confusion, names)]
    if one.dataset.num_classes <= MOST_CLASSES:
        parts.insert(0, _matrix(one.confusion, names))
    return section(f"{prefix}confusion", "Which classes are confused", *parts, note(RULE))


def _matrix(counts: np.ndarray, names: list[str]) -> Html:
    head = tag(
        "tr", tag("th", "true class"), *(tag("th", tag("span", n), scope="col") for n in names)
    )
    rows = []
    for name, row in zip(names, counts, strict=True):
        # background has no number of its own to be a share of
        total = 0 if name == BACKGROUND else row.sum()
        cells = [_cell(count, total) for count in row]
        rows.append(tag("tr", tag("th", name, scope="row"), *cells))
    caption = tag("caption", "Number of detections, by true and detected class")
    built = tag("table", caption, tag("thead", head), tag("tbody", *rows), class_="confusion")
    return tag(
        "div", built, class_="scroll", tabindex=0, role="region", aria_label="Confusion matrix"
    )


def _cell(count: int, total: int) -> Html:
    share = count / total if total else 0.0
    style = f"--share:{100 * share:.0f}%" if share else None
    kind = "dark" if share > 0.55 else None
    return tag("td", count or "", style=style, class_=kind, title=percent(share) if share else None)


def _pairs(counts: np.ndarray, names: list[str]) -> Html:
    off = counts[:-1, :-1] * ~np.eye(len(counts) - 1, dtype=bool)
    order = np.argsort(-off, axis=None, kind="stable")[:MOST_PAIRS]
    rows: list[list[Any]] = []
    for true, found in zip(*np.unravel_index(order, off.shape), strict=True):
        if off[true, found]:
            share = percent(float(off[true, found] / counts[true].sum()))
            rows.append([names[true], names[found], int(off[true, found]), share])
    if not rows:
        return tag("p", "At these thresholds, no class is detected as another one.")
    return table(
        ["true class", "detected as", "boxes", "of all boxes of the true class"],
        rows,
        caption="The most frequent confusions of two classes",
    )
