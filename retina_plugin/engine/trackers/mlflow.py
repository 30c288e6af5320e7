"""The tracker MLflow."""

from __future__ import annotations

import os
import re
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from retina_plugin.config.different_names import free_name
from retina_plugin.engine.trackers.registry import TRACKERS, own_keys
from retina_plugin.engine.trackers.tracker import (
    TrackedImage,
    TrackedRun,
    Tracker,
    require_library,
)

LONGEST_NAME = 240  # of a metric, in characters; MLflow allows 250

# Environment variables that are set unless the user has set them.
DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # no report to MLflow's makers
    "MLFLOW_ALLOW_FILE_STORE": "true",  # new versions refuse folders without it
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # a server that is down costs seconds, not minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "GIT_PYTHON_REFRESH": "quiet",  # no message if git is missing
}


@TRACKERS.register("mlflow", reads=own_keys("mlflow"))
class MlflowTracker(Tracker):
    """Logs to a folder, a database or a server of MLflow."""

    def __init__(self, *, uri: str, experiment: str) -> None:
        """
        Args:
            uri: a folder, or an address with "://". Only this value chooses the store, not the
                environment variable ``MLFLOW_TRACKING_URI``.
            experiment: name of the experiment; it is made if it does not exist.

        Raises:
            ImportError: mlflow is not installed.
        """
        require_library("mlflow")
        self.uri = uri if "://" in uri else Path(uri).absolute().as_uri()
        self.experiment = experiment
        self.client: Any = None
        self.run_id = ""
        self._names: dict[str, str] = {}

    def start(self, run: TrackedRun) -> str:
        """See :meth:`Tracker.start`. The config is stored as parameters."""
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self.client = MlflowClient(tracking_uri=self.uri)
        if run.tracker_id:
            self.run_id = run.tracker_id
            self.client.update_run(self.run_id, status="RUNNING")
            return self.run_id
        found = self.client.get_experiment_by_name(self.experiment)
        experiment = (
            found.experiment_id if found else self.client.create_experiment(self.experiment)
        )
        name = os.path.basename(os.path.abspath(run.folder))
        self.run_id = str(self.client.create_run(experiment, run_name=name).info.run_id)
        parameters = [Param(key, str(value)[:6000]) for key, value in run.config.items()]
        for first in range(0, len(parameters), 100):  # the largest number of one call
            self.client.log_batch(self.run_id, params=parameters[first : first + 100])
        return self.run_id

    def log_scalars(self, values: Mapping[str, float], *, step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(metric_name(n, self._names), v, now, step) for n, v in values.items()]
        for first in range(0, len(metrics), 1000):  # the largest number of one call
            self.client.log_batch(self.run_id, metrics=metrics[first : first + 1000])

    def log_images(self, images: Sequence[TrackedImage], *, step: int) -> None:
        """Log the images on the step axis, and their boxes as a table, MLflow's format of rows."""
        for number, image in enumerate(images):
            # MLflow allows no other characters here
            name = re.sub(r"[^a-zA-Z0-9_. -]", "_", image.name)
            key = f"validation/{number}_{name}"
            self.client.log_image(self.run_id, image.pixels, key=key, step=step)
        self.client.log_table(
            self.run_id, data=box_table(images), artifact_file=f"boxes/step_{step:07d}.json"
        )

    def finish(self, *, completed: bool) -> None:
        self.client.set_terminated(self.run_id, "FINISHED" if completed else "FAILED")


def box_table(images: Sequence[TrackedImage]) -> dict[str, list[Any]]:
    """Return the boxes of images as columns; the score of ground truth is None."""
    rows = [
        (image.name, kind, image.class_names[e["category_id"]], e.get("score"), *e["bbox"])
        for image in images
        for kind, entries in (
            ("ground truth", image.ground_truth),
            ("detection", image.detections),
        )
        for e in entries
    ]
    names = ("image", "kind", "class", "score", "left", "top", "right", "bottom")
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def metric_name(name: str, known: dict[str, str]) -> str:
    """Return a name of a metric that MLflow allows.

    A character that is not allowed becomes its number, "bbox/AP-a+b" becomes "bbox/AP-a_2b_b". So
    the name does not depend on the order of the metrics, which may differ in a resumed run.

    Args:
        name: of a metric.
        known: {name: result} of earlier calls, which is extended. Different metrics get different
            results, also if a file system does not distinguish case.
    """
    if name not in known:
        taken = {found.casefold() for found in known.values()}
        known[name] = free_name(_allowed(name), taken)
    return known[name]


def _allowed(name: str) -> str:
    found = re.sub(r"[^\w./ -]", lambda match: f"_{ord(match[0]):x}_", name)
    # MLflow refuses paths with empty parts and with the parts "." and ".."
    found = "/".join("_" if part.strip(".") == "" else part for part in found.split("/"))
    if len(found) <= LONGEST_NAME:
        return found
    return f"{found[: LONGEST_NAME - 9]}-{zlib.crc32(name.encode()):08x}"
