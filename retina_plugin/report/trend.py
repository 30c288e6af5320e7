"""Decide whether AP was still rising when training ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

NOISE_UNKNOWN = "there is no interval of AP"
# With fewer evaluations, the last one before the last third lies long before the end. AP rises in
# that time in every run, so the gain does not tell whether it was rising at the end.
FEWEST = 5


class Trend(NamedTuple):
    """The best AP of the last third of a run, and the best one before.

    Attributes:
        last, before: (completed steps, AP).
        noise: half the width of AP's interval; None without an interval.
        evaluations: number of evaluations during training.
    """

    last: tuple[int, float]
    before: tuple[int, float]
    noise: float | None
    evaluations: int

    @property
    def gain(self) -> float:
        return self.last[1] - self.before[1]

    @property
    def is_rising(self) -> bool:
        """Whether the gain is above the noise, and there are enough evaluations to judge it."""
        return not self.is_coarse and self.noise is not None and self.gain > self.noise

    @property
    def is_coarse(self) -> bool:
        """Whether there are fewer than :data:`FEWEST` evaluations."""
        return self.evaluations < FEWEST

    @property
    def may_rise(self) -> bool:
        """Whether AP rose, above the noise or not."""
        return self.gain > 0

    def __str__(self) -> str:
        values = (
            f"best AP in the last third of the run {self.last[1]:.1f} (step {self.last[0]}), "
            f"before {self.before[1]:.1f} (step {self.before[0]})"
        )
        if not self.may_rise:
            return f"AP was no longer rising: {values}"
        if self.is_coarse:
            return (
                f"AP may still be rising, but {self.evaluations} evaluations are too few: "
                f"{values}; {FEWEST} evaluations are needed"
            )
        if self.is_rising:
            return (
                f"AP was still rising: {values}; the gain is above the noise, {self.noise:.1f} "
                "(half of the interval)"
            )
        if self.noise is None:
            return f"AP may still be rising, which is uncertain: {values}; {NOISE_UNKNOWN}"
        return (
            f"AP may still be rising, which is uncertain: {values}; the gain is within the noise, "
            f"{self.noise:.1f} (half of the interval)"
        )


def trend_of(series: Mapping[int, float], noise: float | None) -> Trend | None:
    """Compare the best AP of the last third of a run with the best one before.

    Args:
        series: {completed steps: AP} of the evaluations during training.
        noise: see :class:`Trend`.

    Returns:
        None without an evaluation before the last third.
    """
    end = max(series, default=0)
    last = {step: value for step, value in series.items() if 3 * step > 2 * end}
    before = {step: value for step, value in series.items() if step not in last}
    return Trend(_best(last), _best(before), noise, len(series)) if before else None


def _best(series: Mapping[int, float]) -> tuple[int, float]:
    return max(series.items(), key=lambda pair: pair[1])
