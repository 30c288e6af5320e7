"""Optimal LRP error (oLRP; Oksuz et al., arXiv 2011.10772): localisation, precision and recall in
one number, at the best score threshold of each class.

At a score threshold and at IoU 0.5::

    LRP = (sum over found boxes of (1 - IoU) / 0.5  +  wrong  +  missed) / (found + wrong + missed)

``found``, ``wrong`` and ``missed`` are the numbers of found boxes, wrong detections and missed
boxes. oLRP is the lowest LRP over all thresholds. 0 is perfect; 1 means that nothing was found.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from retina_plugin.evaluation.matching import Matching, found_iou
from retina_plugin.evaluation.overlaps import Overlaps

IOU = 0.5


class LRP(NamedTuple):
    """oLRP of a class, and its parts at the same threshold; all in 0..1, lower is better.

    Attributes:
        error: oLRP; NaN for a class without boxes, 1 if no box was found.
        threshold: the score threshold; NaN if no box was found.
        location: mean of 1 - IoU over the found boxes.
        wrong: 1 - precision.
        missed: 1 - recall.
    """

    error: float
    threshold: float = math.nan
    location: float = math.nan
    wrong: float = math.nan
    missed: float = math.nan


def optimal_lrp(overlaps: Overlaps, matching: Matching) -> list[LRP]:
    """Return oLRP of each of K classes.

    Args:
        overlaps: detections and boxes.
        matching: matches whose first IoU threshold is :data:`IOU`, for boxes of all sizes.
    """
    distances = 1 - found_iou(overlaps, matching.found[0])
    hits, counted = matching.hits[0], ~matching.ignored[0]
    classes = len(overlaps.class_names)
    boxes = np.bincount(overlaps.box_labels[matching.counted], minlength=classes)
    order = np.argsort(-overlaps.scores, kind="stable")
    order = order[counted[order]]
    labels = overlaps.labels[order]
    by_class = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[by_class], np.arange(classes + 1))
    found = []
    for number in range(classes):
        part = order[by_class[ends[number] : ends[number + 1]]]
        distance = np.where(hits[part], distances[part], 0)
        found.append(_of_class(overlaps.scores[part], hits[part], distance, int(boxes[number])))
    return found


def _of_class(scores: np.ndarray, hits: np.ndarray, distances: np.ndarray, boxes: int) -> LRP:
    """Return oLRP of a class from its (D,) detections by descending score."""
    if not boxes:
        return LRP(math.nan)
    if not hits.any():
        return LRP(1.0)
    found, distance = hits.cumsum(), distances.cumsum()
    kept = np.arange(1, len(scores) + 1)
    errors = (distance / (1 - IOU) + (kept - found) + (boxes - found)) / (kept + boxes - found)
    errors = np.where(found > 0, errors, 1.0)
    # detections with equal scores are kept together: only the last of them ends a threshold
    ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
    best = ends[errors[ends].argmin()]
    if not found[best]:  # no threshold is better than keeping nothing
        return LRP(1.0)
    return LRP(
        float(errors[best]),
        float(scores[best]),
        float(distance[best] / found[best]),
        float(1 - found[best] / kept[best]),
        float(1 - found[best] / boxes),
    )


def mean_lrp(of_classes: list[LRP]) -> float:
    """Return the mean oLRP of the classes with boxes; NaN if no class has boxes."""
    values = [lrp.error for lrp in of_classes if not math.isnan(lrp.error)]
    return sum(values) / len(values) if values else math.nan
