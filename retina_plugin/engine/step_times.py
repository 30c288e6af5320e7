"""A robust mean of the last step times, and how much other programs slow the process down."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterable

MOST, FEWEST = 200, 5  # steps
OUTLIER = 3.0  # a step counts at most this many times the median
MOST_SLOWNESS = 6.0  # more is waiting for data or other processes, not for the processor


class StepTimes:
    """The times of the last steps.

    The first step of a process is slow, because loaders start and memory is allocated. Its time
    is dropped when the second step is added.
    """

    def __init__(self, *, horizon: float) -> None:
        """
        Args:
            horizon: seconds; the last steps count that together took at most this long, but at
                least 5 and at most 200 steps.
        """
        self._horizon = horizon
        self._times: deque[tuple[float, float]] = deque(maxlen=MOST)
        self._only_first = False
        self.mean, self.slowness = 0.0, 1.0

    def add(self, seconds: float, *, cpu_seconds: float) -> None:
        """Add the time of a step, and the processor time that its thread has used."""
        if self._only_first:
            self._times.clear()
        self._only_first = not self._times and not self._only_first
        self._times.append((seconds, cpu_seconds))
        self._update()

    @property
    def is_settled(self) -> bool:
        """Whether the mean does not depend on a single step."""
        return len(self._times) > 1

    def _update(self) -> None:
        """Compute :attr:`mean`, of the last steps in seconds, each at most three times the median,
        and :attr:`slowness`, how many times longer than their processor time they took."""
        while len(self._times) > FEWEST and sum(t for t, _ in self._times) > self._horizon:
            self._times.popleft()
        times = [seconds for seconds, _ in self._times]
        most = OUTLIER * statistics.median(times)
        self.mean = statistics.fmean(min(seconds, most) for seconds in times)
        cpu = sum(cpu_seconds for _, cpu_seconds in self._times)
        self.slowness = min(max(sum(times) / max(cpu, 1e-9), 1.0), MOST_SLOWNESS)

    def values(self) -> list[tuple[float, float]]:
        """Return the times of the steps and their processor times, for a checkpoint."""
        return list(self._times)

    def restore(self, values: Iterable[tuple[float, float]]) -> None:
        """Replace the times by the times in a checkpoint."""
        self._times.extend((seconds, cpu_seconds) for seconds, cpu_seconds in values)
        if self._times:
            self._update()
