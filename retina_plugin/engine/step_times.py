"""A robust mean of the last step times."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterable

WINDOW = 50  # steps
OUTLIER = 3.0  # a step counts at most this many times the median


class StepTimes:
    """The times of the last steps.

    The first step of a process is slow, because loaders start and memory is allocated. Its time
    is dropped when the second step is added.
    """

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=WINDOW)
        self._only_first = False

    def add(self, seconds: float) -> None:
        """Add the time of a step."""
        if self._only_first:
            self._times.clear()
        self._only_first = not self._times and not self._only_first
        self._times.append(seconds)

    @property
    def is_settled(self) -> bool:
        """Whether the mean does not depend on a single step."""
        return len(self._times) > 1

    @property
    def mean(self) -> float:
        """The mean of the last steps in seconds, each at most three times the median; 0 without a
        step."""
        if not self._times:
            return 0.0
        most = OUTLIER * statistics.median(self._times)
        return statistics.fmean(min(seconds, most) for seconds in self._times)

    def values(self) -> list[float]:
        """Return the times, for a checkpoint."""
        return list(self._times)

    def restore(self, values: Iterable[float]) -> None:
        """Replace the times by the times in a checkpoint."""
        self._times, self._only_first = deque(values, maxlen=WINDOW), False
