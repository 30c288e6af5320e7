"""Pictures of training in TensorBoard."""

from __future__ import annotations

from typing import Any

import lightning

from retina_plugin.lit.loggers import EventsLogger
from retina_plugin.lit.module import RetinaNetModule
from retina_plugin.report import draw_training_image


class TrainingImagesCallback(lightning.Callback):
    """Ground truth beside detections of a training image, every ``VIS_PERIOD`` steps."""

    def __init__(self, events: EventsLogger, period: int) -> None:
        self.events, self.period = events, period

    def on_train_batch_start(
        self, trainer: lightning.Trainer, module: RetinaNetModule, batch: Any, *args: Any
    ) -> None:
        if trainer.global_step % self.period or not trainer.is_global_zero:
            return
        image, names = batch[0]["image"], module.class_names
        picture = draw_training_image(module.model, image, batch[0], class_names=names)
        writer = self.events.experiment
        writer.add_image("training", picture, trainer.global_step, dataformats="HWC")
