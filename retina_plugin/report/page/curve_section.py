"""The curves of precision over recall, and of F1 over the score threshold."""

from __future__ import annotations

import numpy as np

from retina_plugin.evaluation.analysis import Analysis
from retina_plugin.evaluation.curves import mean_curve
from retina_plugin.report.page.chart import Axis, Line, line_chart
from retina_plugin.report.page.html import Html, note, section, tag

MOST_LINES = 10  # classes that are drawn
THRESHOLDS = 201  # at which F1 is drawn


def curve_section(analysis: Analysis, prefix: str) -> Html:
    """Build the section; of many classes, only those with the lowest AP are drawn."""
    with_curve = [i for i, curve in enumerate(analysis.curves) if curve is not None]
    if not with_curve:
        return section(
            f"{prefix}curves", "Precision and recall", tag("p", "There is no detection.")
        )
    drawn = sorted(with_curve, key=lambda i: analysis.sizes[""].of_classes[i])[:MOST_LINES]
    limited = (
        f" Only the {MOST_LINES} classes with the lowest AP are drawn."
        if len(with_curve) > MOST_LINES
        else ""
    )
    return section(
        f"{prefix}curves",
        "Precision and recall",
        tag(
            "div",
            _precision_chart(analysis, drawn),
            line_chart(
                f1_lines(analysis, drawn),
                Axis("score threshold", 0, 1),
                Axis("F1", 0, 1),
                title="F1 over the threshold",
            ),
            class_="row",
        ),
        note(
            "Both are at IoU 0.5 and for boxes of all sizes. Points mark the score thresholds. In "
            "the mean of all classes, a class without a detection has F1 0; classes without boxes "
            f"are left out.{limited}"
        ),
    )


def _precision_chart(analysis: Analysis, drawn: list[int]) -> Html:
    lines = []
    for index in drawn:
        curve = analysis.curves[index]
        assert curve is not None
        at = float(analysis.point.recall[index]), float(analysis.point.precision[index])
        mark = at if np.isfinite(at).all() else None
        lines.append(Line(analysis.dataset.class_names[index], curve.recall, curve.precision, mark))
    return line_chart(
        lines, Axis("recall", 0, 1), Axis("precision", 0, 1), title="Precision over recall"
    )


def f1_lines(analysis: Analysis, drawn: list[int]) -> list[Line]:
    """Return the F1 of some classes over the score threshold, and the mean of the classes with
    boxes if there are several."""
    curves = [curve for curve in analysis.curves if curve is not None]
    lowest = min(float(curve.scores[-1]) for curve in curves)
    grid = np.linspace(lowest, 1, THRESHOLDS)
    lines = []
    for index in drawn:
        curve = analysis.curves[index]
        assert curve is not None
        at = float(analysis.point.thresholds[index]), float(analysis.point.f1[index])
        mark = at if np.isfinite(at).all() else None
        # the curve has steps, and the highest one may lie between two points of the grid
        thresholds = np.union1d(grid, at[:1] if mark else [])
        f1 = mean_curve([curve], thresholds, classes=1)
        lines.append(Line(analysis.dataset.class_names[index], thresholds, f1, mark))
    with_boxes = int((analysis.point.found + analysis.point.missed > 0).sum())
    if with_boxes > 1:
        mean = mean_curve(curves, grid, classes=with_boxes)
        lines.append(Line("mean of all classes", grid, mean, is_main=True))
    return lines
