"""Compute the AP that each kind of error costs, as TIDE does (Bolya et al., arXiv 2008.08115).

All errors of one kind are corrected, and AP at IoU 0.5 is computed again. The gain is the cost of
the kind. The costs of several kinds do not add up. These are the corrections:

- wrong class: the detection gets the class of its target box;
- misplaced: the detection finds its target box, with the same score;
- both, duplicate, background: the detection is removed;
- missed: the box is removed. If a class has no boxes left, its AP is 100. (In TIDE's code it is 0,
  so missing every box of a class costs nothing.)

A wrong-class or misplaced detection is removed if another detection found its target, or if another
error of these two kinds with the same target has a higher score.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from retina_plugin.evaluation.bootstrap import average_precisions
from retina_plugin.evaluation.error_kinds import IOU, KINDS, MISSED, WRONG_CLASS, Errors
from retina_plugin.evaluation.matches import Matches, matches_of, sort_matches
from retina_plugin.evaluation.matching import Matching
from retina_plugin.evaluation.overlaps import Overlaps


class ErrorCosts(NamedTuple):
    """AP at IoU 0.5 in percent, and what each kind of error costs.

    Attributes:
        ap50: (K,), NaN for a class without boxes.
        of_classes: (6, K) cost by kind and class, at least 0; NaN for a class without boxes.
        total: (6,) gain of the mean over the classes with boxes, at least 0.
        counts: (6, K) int64, number of errors, by the class of the detection or the missed box.
    """

    ap50: np.ndarray
    of_classes: np.ndarray
    total: np.ndarray
    counts: np.ndarray


def error_costs(overlaps: Overlaps, matching: Matching, errors: Errors) -> ErrorCosts:
    """Correct the errors of each kind, and compute the gains of AP.

    Args:
        overlaps, matching, errors: see :func:`retina_plugin.evaluation.error_kinds.find_errors`.
    """
    matching = matching._replace(found=matching.found[:1], ignored=matching.ignored[:1])
    ap50 = _ap(matches_of(overlaps, matching, (IOU,)))
    has_boxes = ~np.isnan(ap50)
    of_classes, total = [], []
    for kind in range(len(KINDS)):
        if kind == MISSED:
            corrected = _without_missed(overlaps, matching, errors.missed)
        else:
            corrected = _without_wrong(overlaps, matching, errors, kind)
        ap = np.where(has_boxes, np.nan_to_num(_ap(corrected), nan=100.0), np.nan)
        of_classes.append(np.maximum(ap - ap50, 0))
        total.append(max(_mean(ap) - _mean(ap50), 0.0))
    return ErrorCosts(ap50, np.array(of_classes), np.array(total), _counts(overlaps, errors))


def _without_wrong(overlaps: Overlaps, matching: Matching, errors: Errors, kind: int) -> Matches:
    """Return the matches if the detections of a kind are corrected or removed."""
    selected = errors.kinds == kind
    corrected = selected & errors.fixable
    targets = errors.targets[corrected]
    labels, hits = overlaps.labels.copy(), matching.hits.copy()
    hits[:, corrected] = True
    if kind == WRONG_CLASS:
        labels[corrected] = overlaps.box_labels[targets]
    keep = ~selected | corrected
    return sort_matches(
        Matches(
            class_names=overlaps.class_names,
            iou_thresholds=(IOU,),
            images=overlaps.detection_images[keep],
            classes=labels[keep],
            scores=overlaps.scores[keep],
            hits=hits[:, keep],
            ignored=matching.ignored[:, keep],
            boxes=overlaps.box_counts(matching.counted),
        )
    )


def _without_missed(overlaps: Overlaps, matching: Matching, missed: np.ndarray) -> Matches:
    boxes = overlaps.box_counts(matching.counted & ~missed)
    return replace(matches_of(overlaps, matching, (IOU,)), boxes=boxes)


def _ap(matches: Matches) -> np.ndarray:
    """Return the AP (K,) at the lowest IoU threshold, in percent."""
    every_image = np.ones((1, len(matches.boxes)), dtype=np.int64)
    ap: np.ndarray = average_precisions(matches, every_image)[0, 0]
    return ap


def _mean(values: np.ndarray) -> float:
    """Return the mean of the classes with boxes; NaN if no class has boxes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(np.nanmean(values)) if values.size else float("nan")


def _counts(overlaps: Overlaps, errors: Errors) -> np.ndarray:
    classes = len(overlaps.class_names)
    rows = [
        np.bincount(overlaps.labels[errors.kinds == kind], minlength=classes)
        for kind in range(MISSED)
    ]
    return np.array([*rows, np.bincount(overlaps.box_labels[errors.missed], minlength=classes)])
