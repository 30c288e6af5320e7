"""Likely errors of the annotations, as pictures and as CSV."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import numpy as np

from retina_plugin.data import DatasetError, image_options, read_record
from retina_plugin.evaluation.analysis import Analysis
from retina_plugin.evaluation.label_errors import LabelError, image_of
from retina_plugin.report.page.html import Html, note, section, tag
from retina_plugin.report.page.pictures import BAD, PLAIN, Box, drawing, figure, picture_of

MOST_PICTURES = 36
MARGIN = 1.0  # space around the boxes, as a multiple of their larger side
LEAST_SIDE = 120  # pixels of the original image
COLUMNS = (
    "run", "kind", "suspicion", "file", "image id", "annotation id", "annotation",
    "annotated class", "annotated x0", "annotated y0", "annotated x1", "annotated y1",
    "detected class", "score", "detected x0", "detected y0", "detected x1", "detected y1",
)  # fmt: skip
RULE = (
    "Here the model confidently disagrees with the annotations; the most suspicious places "
    "come first. Check each before you change an annotation. Solid: the annotation. Dashed: "
    "the detection. Overlooked: a confident detection far from every box. Wrong class: a "
    "confident detection of another class on a box (IoU at least 0.5) that no detection of the "
    "annotated class finds. Misplaced: a confident detection of the annotated class is near "
    "the box (IoU from 0.1 to 0.5), and no detection finds it. Spurious: no detection of any "
    "class is on the box, whatever its score. A detection is confident if its score is at "
    "least the mean score of the correct detections of its class."
)


def label_section(cfg: Any, analysis: Analysis, prefix: str, csv_name: str) -> Html:
    """Build the section.

    ``csv_name`` is the name of the CSV file beside the page; for the other arguments see
    :func:`retina_plugin.report.page.image_section.image_section`.
    """
    errors = analysis.label_errors
    title = "Likely label errors"
    if analysis.trained.all():
        text = "Label errors were not searched for, because the model was trained on these images."
        return section(f"{prefix}labels", title, tag("p", text))
    left_out = int(analysis.trained.sum())
    rule = note(
        f"{left_out} of {len(analysis.trained)} images are left out, because the model was trained "
        "on them. "
        if left_out
        else None,
        RULE,
    )
    if not errors:
        return section(f"{prefix}labels", title, tag("p", "None was found."), rule)
    counts = {
        kind: sum(e.kind == kind for e in errors) for kind in dict.fromkeys(e.kind for e in errors)
    }
    listed = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    figures = [
        _figure(cfg, analysis, error, f"{prefix}label{number}")
        for number, error in enumerate(errors[:MOST_PICTURES])
    ]
    more = f"; the first {MOST_PICTURES} are shown" if len(errors) > MOST_PICTURES else ""
    return section(
        f"{prefix}labels",
        title,
        tag("p", f"{listed}{more}. All are in ", tag("a", csv_name, href=quote(csv_name)), "."),
        tag("div", *figures, class_="gallery small"),
        rule,
    )


def _figure(cfg: Any, analysis: Analysis, error: LabelError, name: str) -> Html:
    record = analysis.dataset.records[image_of(error, analysis.overlaps)]
    file_name = os.path.basename(record["file_name"])
    boxes = _boxes(analysis, error)
    try:
        image = read_record(record, **image_options(cfg))
    except DatasetError as problem:
        return tag("p", f"{file_name} is not shown: {problem}")
    left, top, crop = _crop(image, np.array([box.corners for box in boxes]))
    moved = [
        box._replace(corners=(np.asarray(box.corners) - [left, top, left, top]).tolist())
        for box in boxes
    ]
    texts = [box.title for box in boxes]
    drawn = drawing(picture_of(crop), [moved], title=f"{error.kind} in {file_name}", name=name)
    where = _annotation_name(analysis, error)
    caption = f"{error.suspicion:.2f}: {', '.join(texts)}; {where or file_name}"
    return figure(drawn, tag("b", error.kind), f" {caption}", label=f"{error.kind}, {file_name}")


def _boxes(analysis: Analysis, error: LabelError) -> list[Box]:
    boxes = []
    if error.box >= 0:
        name = analysis.dataset.class_names[analysis.overlaps.box_labels[error.box]]
        corners = analysis.overlaps.box_corners[error.box]
        boxes.append(Box(corners, name, PLAIN, f"annotated {name}", {}))
    if error.detection >= 0:
        name = analysis.dataset.class_names[analysis.overlaps.labels[error.detection]]
        score = analysis.overlaps.scores[error.detection]
        text = f"{name} {score:.2f}"
        corners = analysis.overlaps.corners[error.detection]
        boxes.append(Box(corners, text, BAD, f"detected {text}", {}))
    return boxes


def _crop(image: np.ndarray, corners: np.ndarray) -> tuple[int, int, np.ndarray]:
    """Return left, top and the part of an image around (N, 4) boxes."""
    low, high = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
    side = float((high - low).max())
    half = max(side * (0.5 + MARGIN), LEAST_SIDE / 2)
    middle = (low + high) / 2
    height, width = image.shape[:2]
    left, top = np.maximum(middle - half, 0).astype(int).tolist()
    left, top = min(left, width - 1), min(top, height - 1)
    right, bottom = (middle + half).astype(int).tolist()
    return left, top, image[top : max(bottom, top + 1), left : max(right, left + 1)]


def _annotation_name(analysis: Analysis, error: LabelError) -> str:
    """Return the name of the annotation; empty for an overlooked object."""
    if error.box < 0:
        return ""
    record = analysis.dataset.records[image_of(error, analysis.overlaps)]
    annotation = record["annotations"][analysis.overlaps.box_numbers[error.box]]
    return analysis.dataset.name_of(annotation, record)


def label_csv(runs: Sequence[tuple[str, Analysis]]) -> str:
    """Return all likely label errors of some runs as CSV with a line of :data:`COLUMNS`."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, analysis in runs:
        writer.writerows([name, *_csv_row(analysis, error)] for error in analysis.label_errors)
    return buffer.getvalue()


def _csv_row(analysis: Analysis, error: LabelError) -> list[Any]:
    overlaps, names = analysis.overlaps, analysis.dataset.class_names
    record = analysis.dataset.records[image_of(error, overlaps)]
    annotated: list[Any] = [""] * 7
    if error.box >= 0:
        entry = record["annotations"][overlaps.box_numbers[error.box]]
        corners = [f"{v:.1f}" for v in overlaps.box_corners[error.box]]
        annotated = [entry["id"], _annotation_name(analysis, error)]
        annotated += [names[overlaps.box_labels[error.box]], *corners]
    detected: list[Any] = [""] * 6
    if error.detection >= 0:
        corners = [f"{v:.1f}" for v in overlaps.corners[error.detection]]
        score = f"{overlaps.scores[error.detection]:.4f}"
        detected = [names[overlaps.labels[error.detection]], score, *corners]
    start = [error.kind, f"{error.suspicion:.4f}", record["file_name"], record["image_id"]]
    return [*start, *annotated, *detected]
