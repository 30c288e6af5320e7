"""Show training images in TensorBoard."""

from __future__ import annotations

from typing import Any

import lightning

from retina_plugin.lit.loggers import EventsLogger
from retina_plugin.lit.module import RetinaNetModule
from retina_plugin.report import draw_training_image


class TrainingImagesCallback(lightning.Callback):
    """Adds a training image, ground truth beside detections, every ``VIS_PERIOD`` steps."""

    def __init__(self, events: EventsLogger, period: int) -> None:
        self.events, self.period = events, period

    def on_train_batch_start(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        batch: Any,
        batch_idx: int,
    ) -> None:
        assert isinstance(module, RetinaNetModule)
        if trainer.global_step % self.period or not trainer.is_global_zero:
            return
        image, names = batch[0]["image"], module.class_names
        drawing = draw_training_image(module.model, image, batch[0], class_names=names)
        writer = self.events.experiment
        writer.add_image("training", drawing, trainer.global_step, dataformats="HWC")
