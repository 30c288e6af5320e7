"""Pass the scalars and evaluations of Lightning to the run's trackers."""

from __future__ import annotations

from collections.abc import Mapping

import lightning
from lightning.pytorch.utilities import rank_zero_only

from retina_plugin.engine import stopping
from retina_plugin.engine.trackers import RunTrackers
from retina_plugin.lit.loggers import RunLogger, without_epoch
from retina_plugin.lit.module import RetinaNetModule


class TrackerLogger(RunLogger):
    """A logger that calls :meth:`RunTrackers.log_scalars`."""

    def __init__(self, trackers: RunTrackers) -> None:
        self.trackers = trackers

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.trackers.log_scalars(without_epoch(metrics), iteration=step or 0)


class TrackerCallback(lightning.Callback):
    """Passes validation images to the trackers after each evaluation in training."""

    def __init__(self, trackers: RunTrackers) -> None:
        self.trackers = trackers

    def on_validation_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> None:
        assert isinstance(module, RetinaNetModule)
        if trainer.state.fn == "fit" and not stopping.requested_signal() and module.results:
            self.trackers.log_validation_images(iteration=module.iteration)
