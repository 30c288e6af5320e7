"""Where scalars of a run go, as Lightning loggers: ``metrics.json`` and TensorBoard events, in
files as Detectron2's."""

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


class MetricsLogger(Logger):
    """Appends a line to ``metrics.json`` for all scalars that are logged together; a run that is
    killed leaves whole lines behind."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return self.folder

    @functools.cached_property
    def _file(self) -> AppendOnlyFile:
        return AppendOnlyFile(os.path.join(self.folder, "metrics.json"))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """
        Args:
            metrics: name -> value; of float32, so that seven digits are written.
            step: counted from 0.
        """
        line = {name: float(f"{value:.7g}") for name, value in _without_epoch(metrics).items()}
        self._file.write(json.dumps({"iteration": step, **line}, sort_keys=True) + "\n")

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """They are in ``config.yaml``."""


def _without_epoch(metrics: Mapping[str, float]) -> dict[str, float]:
    """Without the number of the epoch, which Lightning adds and which is always 0 here."""
    return {name: value for name, value in metrics.items() if name != "epoch"}


class EventsLogger(TensorBoardLogger):
    """Lightning's TensorBoard logger, which writes into the folder of the run, and by whole
    records."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder, name="", version="")

    @property
    def experiment(self) -> EventFile | Any:
        """A ``SummaryWriter``; on other ranks than the first one a stand-in that does nothing."""
        if rank_zero_only.rank == 0 and self._experiment is None:
            self._experiment = EventFile(self.log_dir)
        return super().experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        # the base class makes a ValueError of a full disk
        for name, value in _without_epoch(metrics).items():
            self.experiment.add_scalar(name, value, step)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """They are in ``config.yaml``."""

    def save(self) -> None:
        """Everything is written at once; ``hparams.yaml`` would repeat ``config.yaml``."""

    def finalize(self, status: str) -> None:
        """The file stays open for the evaluation that follows."""
