"""Pass the scalars of Detectron2's event storage to the run's trackers."""

from __future__ import annotations

from collections import defaultdict

from detectron2.utils.events import EventWriter, get_event_storage

from retina_plugin.engine.summary import LOG_PERIOD
from retina_plugin.engine.trackers import RunTrackers


class TrackerWriter(EventWriter):
    """Logs the scalars that are new since the last call, each at its own step, with the smoothing
    of ``metrics.json``."""

    def __init__(self, trackers: RunTrackers) -> None:
        self.trackers = trackers
        self.written = -1  # the last iteration that was logged

    def write(self) -> None:
        new: dict[int, dict[str, float]] = defaultdict(dict)
        latest = get_event_storage().latest_with_smoothing_hint(LOG_PERIOD)
        for name, (value, iteration) in latest.items():
            if iteration > self.written:
                new[iteration][name] = value
        for iteration, values in sorted(new.items()):
            self.trackers.log_scalars(values, iteration=iteration)
            self.written = iteration
