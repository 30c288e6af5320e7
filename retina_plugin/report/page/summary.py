"""The first section of the report: how good the model is, what it does worst, and how to use it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from retina_plugin.engine.run_thresholds import used_detections
from retina_plugin.evaluation.analysis import Analysis
from retina_plugin.evaluation.bootstrap import CONFIDENCE, interval_of
from retina_plugin.evaluation.error_kinds import KINDS
from retina_plugin.evaluation.label_errors import image_of
from retina_plugin.evaluation.thresholds import NO_BOX, NO_HIT
from retina_plugin.report.page.html import Html, join, section, tag
from retina_plugin.report.page.numbers import number, percent
from retina_plugin.report.page.run_report import RunReport
from retina_plugin.report.worst_class import find_worst_class

LISTED = 12  # classes whose thresholds are listed
OPTIMISM = "on new images, precision and recall tend to be lower."
MEANINGS = {  # kind of error -> what it is
    "wrong class": "the box is right, but the class is wrong",
    "misplaced": "the class is right, but the box is only near the object: IoU from 0.1 to 0.5",
    "both": "wrong class and misplaced: IoU from 0.1 to 0.5 with an object of another class",
    "duplicate": "a second detection of an object",
    "background": "there is no annotated object",
    "missed": "an object without a detection, even a misplaced one or one of a wrong class",
}


def summary_section(run: RunReport, analysis: Analysis, prefix: str) -> Html:
    """Build the section.

    Args:
        run: the run.
        analysis: the analysis of the first evaluated set.
        prefix: start of identifiers in the page.
    """
    lines = [
        *_reached(run, analysis),
        *_worst(run, analysis),
        *_thresholds(run, analysis),
        *_labels(run, analysis, prefix),
    ]
    items = (tag("li", tag("b", title), " ", text) for title, text in lines)
    return section(f"{prefix}summary", "In short", tag("ul", *items))


def short_name(name: str) -> str:
    """Shorten the name of a data set that is a path, to the end of the path; the section with the
    data has the whole name."""
    parts = name.partition("@")[0].split("/")
    return "/".join(parts[-2:])


Lines = Iterator[tuple[str, Html | str]]  # title and text of each


def _reached(run: RunReport, analysis: Analysis) -> Lines:
    found = analysis.sizes[""]
    interval = None if found.resamples is None else interval_of(found.resamples.ap)
    ends = (
        ""
        if interval is None
        else f" ({CONFIDENCE}% of random draws of the images: {interval.low:.1f} to "
        f"{interval.high:.1f})"
    )
    weights = os.path.basename(run.checkpoint or "") if run.is_of_checkpoint else "weights"
    after = "" if run.step is None else f", with {weights} after step {run.step}"
    yield (
        "Reached:",
        f"AP {number(found.ap)}{ends} and AP50 {number(found.ap50)} on "
        f"{len(analysis.dataset.records)} images of {short_name(analysis.dataset.name)}{after}.",
    )
    if not len(analysis.overlaps.scores):
        yield (
            "Nothing was detected:",
            "no score reached MODEL.RETINANET.SCORE_THRESH_TEST "
            f"({run.cfg.MODEL.RETINANET.SCORE_THRESH_TEST:g}). Train longer, or lower it.",
        )


def _worst(run: RunReport, analysis: Analysis) -> Lines:
    of_classes = analysis.sizes[""].of_classes
    metrics = dict(zip((f"AP-{n}" for n in analysis.dataset.class_names), of_classes, strict=True))
    counts = {name: run.training_counts.get(name, 0) for name in analysis.dataset.class_names}
    found = find_worst_class(
        metrics, analysis.sizes[""].resamples, analysis.dataset, training_counts=counts
    )
    if found is None:  # at most one class has boxes
        for index in np.flatnonzero(analysis.costs.ap50 < 100).tolist():
            yield "Why not more:", _why(analysis, index)
        return
    without_counts = f"worst class: {found.name} with AP {found.ap:.1f}"
    title, _, text = (str(found) if run.training_counts else without_counts).partition(": ")
    yield f"{title.capitalize()}:", f"{text}."
    yield "Why:", _why(analysis, analysis.dataset.class_names.index(found.name))


def _why(analysis: Analysis, index: int) -> str:
    """Explain the AP of a class by its errors at IoU 0.5 and by the IoU of its detections."""
    costs, ap50 = analysis.costs.of_classes[:, index], analysis.costs.ap50[index]
    kind = int(np.argmax(costs))
    text = f"At IoU 0.5 its AP is {ap50:.1f}."
    if costs[kind] > 0:
        text += (
            f" Its costliest errors are of the kind {KINDS[kind]} ({MEANINGS[KINDS[kind]]}): "
            f"without them, this AP would be {costs[kind]:.1f} higher."
        )
    location = analysis.lrp[index].location
    if ap50 - analysis.sizes[""].of_classes[index] > 100 - ap50:
        text += (
            " Most of its AP is lost at higher IoU thresholds, because detected boxes are inexact: "
            f"their mean IoU with the objects is {number(1 - location, 2)}."
        )
    return text


def _thresholds(run: RunReport, analysis: Analysis) -> Lines:
    point = analysis.point
    order = np.argsort(-(point.found + point.missed), kind="stable")[:LISTED]
    parts = [_threshold(run, analysis, int(i)) for i in order]
    more = len(point.thresholds) - len(order)
    yield (
        "To use the model,",
        f"keep detections with at least these scores: {'; '.join(parts)}"
        f"{f'; and {more} more classes' if more else ''}. {threshold_source(run, analysis)}",
    )


def _threshold(run: RunReport, analysis: Analysis, index: int) -> str:
    point, name = analysis.point, analysis.dataset.class_names[index]
    if not np.isfinite(point.thresholds[index]):
        reasons = run.metadata.get("score_thresholds_from", {}).get("missing", {})
        has_boxes = point.found[index] + point.missed[index] > 0
        return f"{name}: none ({reasons.get(name, NO_HIT if has_boxes else NO_BOX)})"
    return (
        f"{name}: {number(point.thresholds[index], 2)} (precision "
        f"{percent(point.precision[index])}, recall {percent(point.recall[index])})"
    )


def threshold_source(run: RunReport, analysis: Analysis) -> str:
    """Return where the thresholds come from, in one or two sentences."""
    if "score_thresholds" not in run.metadata:
        return (
            "The thresholds have the highest F1 at IoU 0.5 on these images, because no checkpoint "
            f"has thresholds; {OPTIMISM}"
        )
    source = run.metadata.get("score_thresholds_from", {})
    sets = ", ".join(map(short_name, source.get("sets", []))) or "the validation images"
    used = f"{used_detections(source)}." + _below_filter(run, analysis)
    if analysis.dataset.name in source.get("sets", []):
        used += f" These are the evaluated images; {OPTIMISM}"
    return (
        f"The thresholds are stored in {os.path.basename(run.checkpoint or '')}; each has the "
        f"highest F1 at IoU 0.5 on {sets}{used}"
    )


def _below_filter(run: RunReport, analysis: Analysis) -> str:
    """Name the classes whose thresholds are below the lowest score of the evaluation."""
    lowest = run.cfg.MODEL.RETINANET.SCORE_THRESH_TEST
    names = [
        name
        for name, threshold in zip(
            analysis.dataset.class_names, analysis.point.thresholds, strict=True
        )
        if threshold < lowest
    ]
    if not names:
        return ""
    return (
        f" The evaluation dropped detections below MODEL.RETINANET.SCORE_THRESH_TEST {lowest:g}. "
        f"Therefore the precision and recall of {', '.join(names)} are those at {lowest:g}."
    )


def _labels(run: RunReport, analysis: Analysis, prefix: str) -> Lines:
    images = {image_of(error, analysis.overlaps) for error in analysis.label_errors}
    if images:
        text = (
            f"{len(analysis.label_errors)} annotations in {len(images)} images are likely wrong or "
            "absent: see "
        )
        link = tag("a", "Likely label errors", href=f"#{prefix}labels")
        yield "Check the labels:", join(text, link, ".")
