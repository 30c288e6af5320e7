"""Several runs side by side, with intervals of their differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from retina_plugin.evaluation.analysis import Analysis
from retina_plugin.evaluation.bootstrap import CONFIDENCE, Interval
from retina_plugin.report.page.html import Html, join, note, section, table, tag
from retina_plugin.report.page.numbers import number
from retina_plugin.report.page.summary import short_name

NOT_COMPARABLE = "other images, boxes or classes"
# arrays of Overlaps
GROUND_TRUTH = ("box_images", "box_labels", "box_corners", "areas", "crowd")


def comparison_section(names: Sequence[str], analyses: Sequence[Analysis]) -> Html:
    """Build the section.

    Args:
        names: names of at least two runs.
        analyses: their analyses. Each is compared with the first.
    """
    first = analyses[0]
    rows = [_row(name, first, analysis) for name, analysis in zip(names, analyses, strict=True)]
    parts = [
        table(
            ["run", "evaluated images", "AP", "AP50", "difference in AP", "difference in AP50"],
            rows,
            caption=f"AP of the runs, and differences from {names[0]}",
        )
    ]
    same = [
        (n, analysis)
        for n, analysis in zip(names, analyses, strict=True)
        if _comparable(first, analysis)
    ]
    if len(same) > 1:
        parts.append(_by_class(same))
    return section(
        "comparison",
        "Runs side by side",
        *parts,
        note(
            f"Below a difference is its bootstrap interval: {CONFIDENCE}% of its values if the "
            "images are drawn again with replacement, the same images for both runs. If the "
            "interval does not contain 0, the difference is unlikely to come from the choice of "
            "images. The interval does not include the randomness of training."
        ),
    )


def _comparable(first: Analysis, analysis: Analysis) -> bool:
    """Return whether both runs were evaluated on the same images, boxes and classes."""
    images = [[r["image_id"] for r in x.dataset.records] for x in (first, analysis)]
    return (
        first.dataset.class_names == analysis.dataset.class_names
        and images[0] == images[1]
        and all(
            np.array_equal(getattr(first.overlaps, name), getattr(analysis.overlaps, name))
            for name in GROUND_TRUTH
        )
    )


def _row(name: str, first: Analysis, analysis: Analysis) -> list[Any]:
    whole = analysis.sizes[""]
    images = f"{len(analysis.dataset.records)} of {short_name(analysis.dataset.name)}"
    values: list[Any] = [name, images, number(whole.ap), number(whole.ap50)]
    if analysis is first:
        return [*values, "", ""]
    base = first.sizes[""]
    if not _comparable(first, analysis):
        return [*values, NOT_COMPARABLE, NOT_COMPARABLE]
    if base.resamples is None or whole.resamples is None:
        return [*values, _signed(whole.ap - base.ap), _signed(whole.ap50 - base.ap50)]
    return [
        *values,
        _difference(whole.ap - base.ap, whole.resamples.ap - base.resamples.ap),
        _difference(whole.ap50 - base.ap50, whole.resamples.ap50 - base.resamples.ap50),
    ]


def _by_class(runs: list[tuple[str, Analysis]]) -> Html:
    first = runs[0][1]
    rows = []
    for index, class_name in enumerate(first.dataset.class_names):
        base = first.sizes[""]
        row: list[Any] = [class_name, number(float(base.of_classes[index]))]
        for _, analysis in runs[1:]:
            whole = analysis.sizes[""]
            difference = float(whole.of_classes[index] - base.of_classes[index])
            if base.resamples is None or whole.resamples is None:
                row.append(_signed(difference))
                continue
            drawn = whole.resamples.of_classes - base.resamples.of_classes
            row.append(_difference(difference, drawn[:, index]))
        rows.append(row)
    head = ["class", runs[0][0], *(name for name, _ in runs[1:])]
    return table(head, rows, caption=f"AP of the classes in {runs[0][0]}, and differences from it")


def _difference(value: float, drawn: np.ndarray) -> Html:
    """Format a difference with its interval from the differences (B,) of the resamples."""
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn) or not math.isfinite(value):
        return join(_signed(value))
    tail = (100 - CONFIDENCE) / 2
    interval = Interval(*np.percentile(drawn, [tail, 100 - tail]).tolist())
    ends = f"{interval.low:+.1f} to {interval.high:+.1f}"
    return join(_signed(value), tag("span", ends, class_="interval"))


def _signed(value: float) -> str:
    return f"{value:+.1f}" if math.isfinite(value) else number(value)
