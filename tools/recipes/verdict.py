"""Decide whether a row is better or worse than the base.

AP is uncertain for two reasons: the choice of the evaluated images, and the random numbers of
training.

- Images: they are drawn again with replacement, the same draws for both rows and all seeds, and the
  difference of AP is computed for each draw (:mod:`retina_plugin.evaluation.bootstrap`).
- Seeds: the AP of a run is modelled as an effect of its row, plus an effect of its seed, plus noise
  with the same standard deviation in all rows. The noise is estimated as the residual of a two-way
  analysis of variance of rows and seeds (Fisher, 1925). With two rows, this is the paired t-test.
  With one seed it cannot be estimated.

The interval of the difference includes both: the distances of an end from the difference are added
in quadrature. A row is a gain if its interval is above 0, a loss if it is below 0, and not decided
otherwise. If the noise between seeds is not known, no row is decided.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from retina_plugin.evaluation.bootstrap import CONFIDENCE, Interval, interval_of

GAIN, LOSS, NOT_DECIDED = "gain", "loss", "not decided"
TAIL = 0.5 + CONFIDENCE / 200  # 0.975


class SeedNoise(NamedTuple):
    """The noise of AP between seeds.

    Attributes:
        deviation: standard deviation of the AP of one run.
        quantile: quantile of Student's distribution; :data:`CONFIDENCE` percent of the values lie
            between it and its negative.
    """

    deviation: float
    quantile: float

    def half_width(self, seeds: int) -> float:
        """Return half the width of the interval of a difference of two means over ``seeds``."""
        return self.quantile * self.deviation * math.sqrt(2 / seeds)


@dataclass(frozen=True)
class Scores:
    """AP of the runs of a row, for S seeds, in percent.

    Attributes:
        ap: (S,).
        resamples: (S, B), AP of resampled images; the same images for all rows and seeds.
    """

    ap: np.ndarray
    resamples: np.ndarray

    @property
    def mean(self) -> float:
        return float(self.ap.mean())

    @property
    def interval(self) -> Interval | None:
        """The interval of the mean over resampled images."""
        return interval_of(self.resamples.mean(axis=0))


class Difference(NamedTuple):
    """The AP of a row minus that of the base, with its interval and the verdict."""

    value: float
    low: float
    high: float
    verdict: str


def measured_noise(scores: Sequence[Scores]) -> SeedNoise | None:
    """Estimate the noise between seeds from all rows together.

    Args:
        scores: at least the base and one other row, with the same seeds.

    Returns:
        None with one seed or one row.
    """
    table = np.stack([row.ap for row in scores])  # (R, S)
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
    if not freedom:
        return None
    from scipy.stats import t  # slow to import

    means = table.mean(axis=1, keepdims=True) + table.mean(axis=0, keepdims=True) - table.mean()
    deviation = math.sqrt(float(((table - means) ** 2).sum()) / freedom)
    return SeedNoise(deviation, float(t.ppf(TAIL, freedom)))


def known_noise(deviation: float) -> SeedNoise:
    """Return the noise of another comparison."""
    from scipy.stats import norm

    return SeedNoise(deviation, float(norm.ppf(TAIL)))


def compare(row: Scores, base: Scores, noise: SeedNoise | None) -> Difference:
    """Compare a row with the base.

    Args:
        row, base: scores with the same seeds and images.
        noise: the noise between seeds. If it is None, the interval includes the noise of the images
            only, and the verdict is "not decided".
    """
    value = row.mean - base.mean
    draws = (row.resamples - base.resamples).mean(axis=0)
    tail = 100 * TAIL
    low, high = np.nanpercentile(draws, [100 - tail, tail])
    seeds = noise.half_width(len(row.ap)) if noise else 0.0
    low, high = value - math.hypot(value - low, seeds), value + math.hypot(high - value, seeds)
    return Difference(value, low, high, _verdict(low, high) if noise else NOT_DECIDED)


def _verdict(low: float, high: float) -> str:
    if low > 0:
        return GAIN
    return LOSS if high < 0 else NOT_DECIDED
