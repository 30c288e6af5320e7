"""Lightning loggers that write ``metrics.json`` and TensorBoard events as Detectron2 does."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from retina_plugin.config.files import AppendOnlyFile
from retina_plugin.engine.events import EventFile


class RunLogger(Logger):
    """Base of loggers that write into the run's own folder or pass values on."""

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: ``config.yaml`` has the hyperparameters, and trackers have the config."""


class MetricsLogger(RunLogger):
    """Appends one line to ``metrics.json`` for each call of :meth:`log_metrics`.

    A killed run leaves no partial line.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    @property
    def save_dir(self) -> str:
        return self.folder

    @functools.cached_property
    def _file(self) -> AppendOnlyFile:
        return AppendOnlyFile(os.path.join(self.folder, "metrics.json"))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append a line.

        Args:
            metrics: name -> value, written with seven digits, the precision of float32.
            step: the number of the step, from 0.
        """
        line = {name: float(f"{value:.7g}") for name, value in without_epoch(metrics).items()}
        self._file.write(json.dumps({"iteration": step, **line}, sort_keys=True) + "\n")


def without_epoch(metrics: Mapping[str, float]) -> dict[str, float]:
    """Drop "epoch", which Lightning adds. It is always 0, because a run is one epoch."""
    return {name: value for name, value in metrics.items() if name != "epoch"}


class EventsLogger(TensorBoardLogger):
    """Lightning's TensorBoard logger. It writes only complete records, into the run's folder."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder, name="", version="")

    @property
    def experiment(self) -> EventFile | Any:
        """The writer of the events; on ranks other than 0, an object that does nothing."""
        is_main = rank_zero_only.rank == 0  # type: ignore[attr-defined]  # set by Lightning
        if is_main and self._experiment is None:
            self._experiment = EventFile(self.log_dir)
        return super().experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        # do not call the base class, which raises a ValueError if the disk is full
        for name, value in without_epoch(metrics).items():
            self.experiment.add_scalar(name, value, step)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: ``config.yaml`` has the hyperparameters."""

    def save(self) -> None:
        """Do nothing: events are written when they are logged, and ``config.yaml`` has the
        hyperparameters."""

    def finalize(self, status: str) -> None:
        """Do nothing: the evaluation after training writes to the file too."""
