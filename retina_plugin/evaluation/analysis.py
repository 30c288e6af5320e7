"""Evaluate the detections of a data set in all ways that a report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from retina_plugin.data import Dataset
from retina_plugin.evaluation.calibration import Calibration, calibration_of
from retina_plugin.evaluation.confusion import confusion_matrix
from retina_plugin.evaluation.curves import Curve, curve_of
from retina_plugin.evaluation.error_costs import ErrorCosts, error_costs
from retina_plugin.evaluation.error_kinds import IOU, Errors, find_errors
from retina_plugin.evaluation.label_errors import LabelError, find_label_errors, image_of
from retina_plugin.evaluation.lrp import LRP, optimal_lrp
from retina_plugin.evaluation.matches import Matches, matches_of
from retina_plugin.evaluation.matching import Matching, match
from retina_plugin.evaluation.operating_point import (
    OperatingPoint,
    operating_point,
    threshold_array,
)
from retina_plugin.evaluation.overlaps import Overlaps, compute_overlaps
from retina_plugin.evaluation.sizes import SizeAP, ap_of_sizes
from retina_plugin.evaluation.thresholds import score_thresholds


@dataclass(frozen=True)
class Analysis:
    """All evaluations of a data set with K classes, at IoU 0.5 unless stated otherwise.

    Attributes:
        dataset: the data set.
        overlaps: its boxes, the detections and their IoU.
        matching: the box that each detection found.
        sizes: AP at COCO's IoU thresholds by object size, see
            :data:`retina_plugin.evaluation.sizes.RANGES`.
        curves: K curves of precision and recall; None for a class without boxes or detections.
        errors, costs: the kinds of errors, and the AP that they cost.
        point: precision and recall at the score thresholds.
        confusion: (K + 1, K + 1), see :mod:`retina_plugin.evaluation.confusion`.
        calibration: calibration of the detections of all classes.
        of_classes: the calibration of each class.
        lrp: oLRP of each class.
        trained: (I,) bool, whether the model was trained on an image.
        label_errors: likely errors of the annotations of the other images.
    """

    dataset: Dataset
    overlaps: Overlaps
    matching: Matching
    sizes: dict[str, SizeAP]
    curves: list[Curve | None]
    errors: Errors
    costs: ErrorCosts
    point: OperatingPoint
    confusion: np.ndarray
    calibration: Calibration
    of_classes: list[Calibration]
    lrp: list[LRP]
    trained: np.ndarray
    label_errors: list[LabelError]


def analyse(
    dataset: Dataset,
    results: Sequence[Mapping[str, Any]],
    *,
    max_detections: int,
    thresholds: Mapping[str, float] | None,
    trained: np.ndarray,
) -> Analysis:
    """Evaluate detections.

    Args:
        dataset: a data set with ground truth.
        results: its detections in COCO's results format.
        max_detections: number of best detections of each image and class that are used.
        thresholds: {class name: score} of the operating point; None to choose them on these
            results, by F1.
        trained: (I,) bool, whether the model was trained on an image.
    """
    overlaps = compute_overlaps(dataset, results, max_detections=max_detections)
    matching = match(overlaps, (IOU,))
    matches = matches_of(overlaps, matching, (IOU,))
    chosen = _chosen(matches) if thresholds is None else thresholds
    at = threshold_array(dataset.class_names, chosen)
    errors = find_errors(overlaps, matching)
    return Analysis(
        dataset=dataset,
        overlaps=overlaps,
        matching=matching,
        sizes=ap_of_sizes(overlaps),
        curves=[curve_of(matches, number) for number in range(dataset.num_classes)],
        errors=errors,
        costs=error_costs(overlaps, matching, errors),
        point=operating_point(overlaps, matching, at),
        confusion=confusion_matrix(overlaps, matching, at),
        calibration=calibration_of(matches),
        of_classes=[calibration_of(matches, part) for part in matches.of_classes()],
        lrp=optimal_lrp(overlaps, matching),
        trained=trained,
        label_errors=[
            error
            for error in find_label_errors(overlaps, matching, errors, at)
            if not trained[image_of(error, overlaps)]
        ],
    )


def _chosen(matches: Matches) -> dict[str, float]:
    thresholds = score_thresholds(matches)
    return {name: t.score for name, t in thresholds.items() if t.score is not None}
