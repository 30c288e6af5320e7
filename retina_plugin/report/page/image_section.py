"""The images with the most errors: ground truth beside detections."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from retina_plugin.data import DatasetError, image_options, read_record
from retina_plugin.evaluation.analysis import Analysis
from retina_plugin.evaluation.error_kinds import KINDS, MISSED
from retina_plugin.evaluation.operating_point import kept_detections
from retina_plugin.evaluation.sizes import LARGE, SMALL
from retina_plugin.report.page.html import Html, note, section, tag
from retina_plugin.report.page.pictures import BAD, GOOD, Box, drawing, figure, picture_of

MOST_IMAGES = 24
SIZES = ("small", "medium", "large")


def image_section(cfg: Any, analysis: Analysis, prefix: str) -> Html:
    """Build the section.

    Args:
        cfg: config of the run.
        analysis: the analysis.
        prefix: start of identifiers in the page.
    """
    wrong, missed = _errors_at_thresholds(analysis)
    counts = np.bincount(
        analysis.overlaps.detection_images[wrong], minlength=analysis.overlaps.images
    )
    counts += np.bincount(analysis.overlaps.box_images[missed], minlength=analysis.overlaps.images)
    order = np.argsort(-counts, kind="stable")[:MOST_IMAGES]
    chosen = [int(i) for i in order if counts[i]]
    figures = [_figure(cfg, analysis, i, wrong, missed, f"{prefix}image{i}") for i in chosen]
    if not chosen:
        figures = [tag("p", "No image has an error at these thresholds.")]
    return section(
        f"{prefix}images",
        "Worst images",
        _filters(analysis.dataset.class_names, prefix) if chosen else None,
        tag("div", *figures, class_="gallery"),
        note(
            f"The {len(chosen)} images with the most errors at the score thresholds. Ground truth "
            "is on the left, detections are on the right. Solid green: a box that was found, and "
            "the detection that found it. Dashed orange: a missed box, or a wrong detection with "
            "its kind of error. Crowds are not drawn. Click an image to enlarge it; the arrow keys "
            "then show the next images."
        ),
    )


def _errors_at_thresholds(analysis: Analysis) -> tuple[np.ndarray, np.ndarray]:
    """Return the wrong detections (D,) bool and missed boxes (M,) bool at the thresholds."""
    kept = kept_detections(analysis.overlaps, analysis.point.thresholds)
    hits = analysis.matching.hits[0]
    missed = analysis.matching.counted.copy()
    missed[analysis.matching.found[0][hits & kept]] = False
    return kept & ~hits & ~analysis.matching.ignored[0], missed


def _figure(
    cfg: Any, analysis: Analysis, index: int, wrong: np.ndarray, missed: np.ndarray, name: str
) -> Html:
    record = analysis.dataset.records[index]
    file_name = os.path.basename(record["file_name"])
    try:
        image = read_record(record, **image_options(cfg))
    except DatasetError as error:
        return tag("p", f"{file_name} is not shown: {error}")
    truth, found = _boxes(analysis, index, missed), _detections(analysis, index, wrong)
    bad = [sum(box.kind == BAD for box in boxes) for boxes in (truth, found)]
    text = f"{file_name}: {bad[0]} missed of {len(truth)}, {bad[1]} wrong of {len(found)}"
    picture = drawing(picture_of(image), [truth, found], title=text, name=name)
    return figure(picture, text, label=file_name)


def _boxes(analysis: Analysis, index: int, missed: np.ndarray) -> list[Box]:
    """Return the boxes of an image."""
    rows = ((analysis.overlaps.box_images == index) & analysis.matching.counted).nonzero()[0]
    boxes = []
    for row in rows.tolist():
        name = analysis.dataset.class_names[analysis.overlaps.box_labels[row]]
        kind = KINDS[MISSED] if missed[row] else ""
        data = _data(name, kind, analysis.overlaps.areas[row]) if kind else {}
        title = f"{name}, {kind}" if kind else name
        boxes.append(
            Box(analysis.overlaps.box_corners[row], name, BAD if kind else GOOD, title, data)
        )
    return boxes


def _detections(analysis: Analysis, index: int, wrong: np.ndarray) -> list[Box]:
    """Return the detections of an image that are kept and not in a crowd."""
    hits = analysis.matching.hits[0] & kept_detections(analysis.overlaps, analysis.point.thresholds)
    rows = ((analysis.overlaps.detection_images == index) & (wrong | hits)).nonzero()[0]
    boxes = []
    for row in rows.tolist():
        name = analysis.dataset.class_names[analysis.overlaps.labels[row]]
        score = f"{analysis.overlaps.scores[row]:.2f}"
        kind = KINDS[analysis.errors.kinds[row]] if wrong[row] else ""
        area = analysis.overlaps.detection_areas[row]
        data = {**_data(name, kind, area), "score": score} if kind else {}
        title = f"{name} {score}, {kind}" if kind else f"{name} {score}"
        boxes.append(
            Box(
                analysis.overlaps.corners[row],
                title,
                BAD if kind else GOOD,
                title,
                data,
            )
        )
    return boxes


def _data(name: str, kind: str, area: float) -> dict[str, str]:
    size = SIZES[int(np.digitize(area, [SMALL, LARGE]))]
    return {"label": name, "kind": kind, "size": size}


def _filters(class_names: tuple[str, ...], prefix: str) -> Html:
    score = tag(
        "label",
        "score at least ",
        tag(
            "input",
            type="number",
            name="score",
            min=0,
            max=1,
            step=0.05,
            value=0,
            id=f"{prefix}score",
        ),
    )
    return tag(
        "form",
        _choice("label", "class", class_names),
        _choice("kind", "error", KINDS),
        _choice("size", "size", SIZES),
        score,
        tag("output", aria_live="polite"),
        class_="filters",
        aria_label="Show images with such errors",
    )


def _choice(name: str, label: str, values: tuple[str, ...]) -> Html:
    options = [tag("option", "all", value=""), *(tag("option", v, value=v) for v in values)]
    return tag("label", f"{label} ", tag("select", *options, name=name))
