"""Precision, recall and F1 of a class over all score thresholds, at one IoU threshold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from retina_plugin.evaluation.matches import Matches


class Curve(NamedTuple):
    """Precision and recall at each score threshold.

    Attributes:
        scores: (S,) the distinct scores of the detections, descending.
        precision, recall: (S,) in 0..1, of the detections with at least this score.
    """

    scores: np.ndarray
    precision: np.ndarray
    recall: np.ndarray

    @property
    def f1(self) -> np.ndarray:
        """(S,) the harmonic mean of precision and recall; 0 if both are 0."""
        total = self.precision + self.recall
        f1: np.ndarray = 2 * self.precision * self.recall / np.where(total > 0, total, 1)
        return f1


def curve_of(matches: Matches, class_index: int) -> Curve | None:
    """Return the curve of a class at the lowest IoU threshold of ``matches``.

    Crowds and detections in crowds do not count. Precision is not interpolated as in COCO's AP.

    Returns:
        None if the class has no boxes, or no detections outside of crowds.
    """
    part = list(matches.of_classes())[class_index]
    boxes = int(matches.boxes[:, class_index].sum())
    counted = ~matches.ignored[0, part]
    scores, hits = matches.scores[part][counted], matches.hits[0, part][counted]
    if not boxes or not len(scores):
        return None
    # detections with equal scores are kept together: only the last of them ends a threshold
    ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
    found = hits.cumsum()[ends]
    return Curve(scores[ends], found / (ends + 1), found / boxes)


def mean_curve(curves: list[Curve], thresholds: np.ndarray, *, classes: int) -> np.ndarray:
    """Return the mean F1 (S,) of some classes at (S,) thresholds.

    The F1 of a class is 0 at thresholds above its highest score.

    Args:
        curves: at least one curve.
        thresholds: (S,).
        classes: number of classes. Those without a curve have F1 0.
    """
    values = []
    for curve in curves:
        # the last score that is at least the threshold
        place = np.searchsorted(-curve.scores, -thresholds, side="right") - 1
        values.append(np.where(place >= 0, curve.f1[place], 0))
    mean: np.ndarray = np.sum(values, axis=0) / classes
    return mean
