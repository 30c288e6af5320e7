"""Compare scores with precision: reliability diagram and D-ECE.

A detector is calibrated if 80% of the detections with score 0.8 find a box at IoU 0.5. D-ECE is the
expected calibration error of detections (Kueppers et al., CVPR Workshops 2020): the mean absolute
difference of score and precision over bins of the score, weighted by the number of detections.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from retina_plugin.evaluation.matches import Matches

BINS = 10  # of equal width, from 0 to 1


class Calibration(NamedTuple):
    """Detections in bins of their score; detections in crowds are left out.

    Attributes:
        counts: (B,) int64.
        scores: (B,) mean score; NaN for an empty bin.
        precision: (B,) share of detections that found a box; NaN for an empty bin.
    """

    counts: np.ndarray
    scores: np.ndarray
    precision: np.ndarray

    @property
    def error(self) -> float:
        """D-ECE in 0..1; NaN without detections."""
        if not self.counts.any():
            return math.nan
        used = self.counts > 0
        differences = np.abs(self.precision - self.scores)[used]
        return float(np.average(differences, weights=self.counts[used]))


def calibration_of(matches: Matches, part: slice = slice(None), *, bins: int = BINS) -> Calibration:
    """Sort detections into bins of their score.

    Args:
        matches: matches; their lowest IoU threshold is used.
        part: the detections to use, such as those of a class; see
            :meth:`retina_plugin.evaluation.matches.Matches.of_classes`.
        bins: number of bins. A score on the edge of two bins is in the upper one.
    """
    counted = ~matches.ignored[0, part]
    scores, hits = matches.scores[part][counted], matches.hits[0, part][counted]
    numbers = (scores * bins).astype(np.int64).clip(0, bins - 1)
    counts = np.bincount(numbers, minlength=bins)
    sums = (np.bincount(numbers, weights=values, minlength=bins) for values in (scores, hits))
    means = [np.where(counts > 0, total / np.maximum(counts, 1), math.nan) for total in sums]
    return Calibration(counts, *means)
