"""The confusion matrix and the most frequent confusions."""

from __future__ import annotations

from typing import Any

import numpy as np

from retina_plugin.evaluation.analysis import Analysis
from retina_plugin.report.page.html import Html, captioned, note, section, table, tag
from retina_plugin.report.page.numbers import percent

MOST_OPEN = 30  # with more classes, a click opens the matrix
MOST_CLASSES = 200  # with more classes, the matrix is not shown
MOST_PAIRS = 20  # number of listed confusions
BACKGROUND = "background"
RULE = (
    "Rows are true classes and columns are detected classes. The row background has the detections "
    "without a box. The column background has the objects that were not detected. The shade of a "
    "cell is its share of the boxes of the true class. Only detections with at least the score "
    "threshold of their class are counted. A detection and a box are paired if their IoU is at "
    "least 0.5. Pairs of the same class are formed first, so the sums agree with precision and "
    "recall above."
)


def confusion_section(analysis: Analysis, prefix: str) -> Html:
    """Build the section."""
    names = [*analysis.dataset.class_names, BACKGROUND]
    classes, pairs = analysis.dataset.num_classes, _pairs(analysis.confusion, names)
    if classes > MOST_CLASSES:
        parts = [pairs, tag("p", f"The matrix of {classes} classes is too large for this page.")]
    elif classes > MOST_OPEN:
        summary = tag("summary", f"Confusion matrix of {classes} classes")
        parts = [pairs, tag("details", summary, _matrix(analysis.confusion, names))]
    else:
        parts = [_matrix(analysis.confusion, names), pairs]
    return section(f"{prefix}confusion", "Which classes are confused", *parts, note(RULE))


def _matrix(counts: np.ndarray, names: list[str]) -> Html:
    head = tag(
        "tr", tag("th", "true class"), *(tag("th", tag("span", n), scope="col") for n in names)
    )
    rows = []
    for name, row in zip(names, counts, strict=True):
        # background has no boxes, so there is no share
        total = 0 if name == BACKGROUND else row.sum()
        cells = [_cell(count, total) for count in row]
        rows.append(tag("tr", tag("th", name, scope="row"), *cells))
    built = tag("table", tag("thead", head), tag("tbody", *rows), class_="confusion")
    return captioned(built, "Confusion matrix: number of detections, by true and detected class")


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
