"""The reliability diagram, and D-ECE of each class."""

from __future__ import annotations

from retina_plugin.evaluation.analysis import Analysis
from retina_plugin.evaluation.calibration import BINS, Calibration
from retina_plugin.report.page.chart import Axis, Line, line_chart, place
from retina_plugin.report.page.html import Html, join, note, section, table, tag
from retina_plugin.report.page.numbers import number

X, Y = Axis("score", 0, 1), Axis("precision", 0, 1)


def calibration_section(analysis: Analysis, prefix: str) -> Html:
    """Build the section."""
    found = analysis.calibration
    chart = line_chart(
        [Line("precision", found.scores, found.precision), Line("calibrated", [0, 1], [0, 1])],
        X,
        Y,
        title="Reliability: precision of detections by their score",
        extra=_counts(found),
    )
    rows = [
        [name, int(of_class.counts.sum()), number(100 * of_class.error)]
        for name, of_class in zip(analysis.dataset.class_names, analysis.of_classes, strict=True)
    ]
    rows.insert(0, ["all classes", int(found.counts.sum()), number(100 * found.error)])
    errors = table(["class", "detections", "D-ECE"], rows, caption="D-ECE in percent")
    return section(
        f"{prefix}calibration",
        "Do scores mean precision?",
        tag("div", chart, errors, class_="row"),
        note(
            f"All detections of the evaluation, except those in crowds, are in {BINS} bins by "
            "score. Precision is at IoU 0.5. Grey bars are the numbers of detections, "
            "relative to the fullest bin. D-ECE is the mean absolute difference of score and "
            "precision over the bins, weighted by the number of detections. Focal loss is not "
            "designed to give calibrated scores."
        ),
    )


def _counts(found: Calibration) -> Html:
    """Draw the numbers of detections as grey bars behind the lines."""
    most = max(int(found.counts.max(initial=0)), 1)
    bars = []
    for index, count in enumerate(found.counts.tolist()):
        corners = [index / BINS, (index + 1) / BINS], [0, 0.25 * count / most]
        (x0, y0), (x1, y1) = place(X, Y, *corners)
        size = {"width": f"{x1 - x0 - 1:.1f}", "height": f"{y0 - y1:.1f}"}
        title = tag("title", f"{count} detections")
        bars.append(tag("rect", title, x=f"{x0:.1f}", y=f"{y1:.1f}", class_="counts", **size))
    return join(*bars)
