"""Pass the values of a run to its trackers; an error of a tracker never ends the run."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from retina_plugin.config import leaves
from retina_plugin.config.errors import ConfigError
from retina_plugin.config.files import write_atomically
from retina_plugin.engine.trackers.images import validation_images
from retina_plugin.engine.trackers.registry import TRACKERS
from retina_plugin.engine.trackers.tracker import TrackedRun, Tracker

IDS = "trackers.json"  # in OUTPUT_DIR: {tracker: id of the tracked run}


class RunTrackers:
    """The trackers of a run, possibly none. All of them get the same values.

    The step is the number of completed steps, for training, validation and the final evaluation.
    A tracker that raises an error is reported once, and gets no more values.
    """

    def __init__(self, trackers: Mapping[str, Tracker], cfg: Any = None) -> None:
        """
        Args:
            trackers: name -> a tracker that has started.
            cfg: the config of the run; may be None without trackers.
        """
        self._trackers, self._cfg = dict(trackers), cfg

    def __bool__(self) -> bool:
        return bool(self._trackers)

    def log_scalars(self, values: Mapping[str, float], *, iteration: int) -> None:
        """Log values; NaN and infinity are left out.

        Args:
            values: name -> value, with the names of ``metrics.json``.
            iteration: the number of the step from 0, as in ``metrics.json``.
        """
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        if finite:
            self._call(lambda tracker: tracker.log_scalars(finite, step=iteration + 1))

    def log_validation_images(self, *, iteration: int) -> None:
        """Log ``TRACKING.IMAGES`` images of the evaluation that was just made."""
        if not self._trackers:
            return
        images = validation_images(self._cfg, self._cfg.MODEL.RETINA_PLUGIN.TRACKING.IMAGES)
        if images:
            self._call(lambda tracker: tracker.log_images(images, step=iteration + 1))

    def finish(self, *, completed: bool) -> None:
        """End all trackers."""
        self._call(lambda tracker: tracker.finish(completed=completed))
        self._trackers.clear()

    def _call(self, function: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                function(tracker)
            # the network, a server or the tracker's library may raise anything
            except Exception as error:
                del self._trackers[name]
                print(
                    f"warning: the tracker {name} fails with {type(error).__name__}: "
                    f"{error}; the run continues without it",
                    flush=True,
                )


@contextlib.contextmanager
def track_run(cfg: Any, *, resumed: bool, main: bool) -> Iterator[RunTrackers]:
    """Start the trackers that ``cfg`` lists, and end them with the run.

    ``trackers.json`` in ``OUTPUT_DIR`` keeps their ids, so a resumed run continues its curves.

    Args:
        cfg: the frozen config; its ``OUTPUT_DIR`` exists.
        resumed: whether the run continues from a checkpoint.
        main: whether this is the main process; other processes have no trackers.

    Raises:
        ConfigError: a tracker cannot be started.
    """
    trackers = RunTrackers(_start(cfg, resumed=resumed) if main else {}, cfg)
    try:
        yield trackers
    except BaseException:  # also Ctrl-C
        trackers.finish(completed=False)
        raise
    trackers.finish(completed=True)


def _start(cfg: Any, *, resumed: bool) -> dict[str, Tracker]:
    found: dict[str, Tracker] = dict(TRACKERS.build_all(cfg, TRACKERS.chosen(cfg)))
    path = os.path.join(cfg.OUTPUT_DIR, IDS)
    ids = _read_ids(path) if resumed else {}
    config = dict(leaves(cfg))
    for name, tracker in found.items():
        try:
            ids[name] = tracker.start(TrackedRun(cfg.OUTPUT_DIR, ids.get(name), config))
        # no log-in, no network, or an invalid address: the library may raise anything
        except Exception as error:
            for started in list(found)[: list(found).index(name)]:
                found[started].finish(completed=False)
            raise ConfigError(
                f"{TRACKERS.choice_key}: {name} cannot start: {type(error).__name__}: {error}. "
                f"Change the keys below {TRACKERS.node}.{name}, or leave it out."
            ) from error
    if found:
        write_atomically(path, json.dumps(ids, indent=1) + "\n")
    return found


def _read_ids(path: str) -> dict[str, str]:
    """Return the ids of the trackers of an earlier start; {} if there is no file. If it is broken,
    a warning says that new curves begin."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        if isinstance(found, dict) and all(isinstance(value, str) for value in found.values()):
            return found
        problem = "is not {tracker: id}"
    except FileNotFoundError:
        return {}
    except ValueError as error:
        problem = f"is not JSON ({error})"
    print(f"warning: {path} {problem}: the trackers begin new curves", flush=True)
    return {}
