"""The operating point: precision, recall and F1 of each class at its score threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from retina_plugin.evaluation.matching import Matching
from retina_plugin.evaluation.overlaps import Overlaps


class OperatingPoint(NamedTuple):
    """Counts of kept detections, at IoU 0.5.

    Attributes:
        thresholds: (K,); infinite for a class without a threshold, so none of its detections is
            kept.
        found: (K,) int64, number of kept detections that found a box.
        wrong: (K,) int64, number of kept detections that did not.
        missed: (K,) int64, number of boxes that were not found.
    """

    thresholds: np.ndarray
    found: np.ndarray
    wrong: np.ndarray
    missed: np.ndarray

    @property
    def precision(self) -> np.ndarray:
        """(K,); NaN for a class without kept detections."""
        return _ratio(self.found, self.found + self.wrong)

    @property
    def recall(self) -> np.ndarray:
        """(K,); NaN for a class without boxes."""
        return _ratio(self.found, self.found + self.missed)

    @property
    def f1(self) -> np.ndarray:
        """(K,); NaN for a class without boxes and without kept detections."""
        return _ratio(2 * self.found, 2 * self.found + self.wrong + self.missed)


def threshold_array(class_names: tuple[str, ...], scores: Mapping[str, float]) -> np.ndarray:
    """Return the thresholds of a checkpoint as (K,); infinite for classes that are missing."""
    return np.array([scores.get(name, math.inf) for name in class_names])


def kept_detections(overlaps: Overlaps, thresholds: np.ndarray) -> np.ndarray:
    """Return (D,) bool, whether the score is at least the threshold (K,) of the class."""
    kept: np.ndarray = overlaps.scores >= thresholds[overlaps.labels]
    return kept


def operating_point(
    overlaps: Overlaps, matching: Matching, thresholds: np.ndarray
) -> OperatingPoint:
    """Count the detections that are kept, and the boxes that they miss.

    Args:
        overlaps: detections and boxes.
        matching: matches whose first IoU threshold is used. Best scores are matched first, so the
            matches of the kept detections do not depend on the others.
        thresholds: (K,).
    """
    classes = len(thresholds)
    kept = kept_detections(overlaps, thresholds)
    hits = matching.hits[0] & kept
    wrong = kept & ~matching.hits[0] & ~matching.ignored[0]
    found = np.bincount(overlaps.labels[hits], minlength=classes)
    boxes = np.bincount(overlaps.box_labels[matching.counted], minlength=classes)
    return OperatingPoint(
        thresholds, found, np.bincount(overlaps.labels[wrong], minlength=classes), boxes - found
    )


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    ratio: np.ndarray = np.where(whole > 0, part / np.maximum(whole, 1), math.nan)
    return ratio
