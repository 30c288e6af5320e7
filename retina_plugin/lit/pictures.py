"""Pictures of training in TensorBoard."""

from __future__ import annotations

from typing import Any

import lightning
import numpy as np
import torch

from retina_plugin.lit.loggers import Events
from retina_plugin.lit.module import RetinaNetModule
from retina_plugin.modeling.retinanet import evaluating
from retina_plugin.report import training_picture


class Pictures(lightning.Callback):
    """Ground truth beside detections of a training image, every ``VIS_PERIOD`` steps."""

    def __init__(self, events: Events, period: int) -> None:
        self.events, self.period = events, period

    @torch.no_grad()
    def on_train_batch_start(
        self, trainer: lightning.Trainer, module: RetinaNetModule, batch: Any, *args: Any
    ) -> None:
        if trainer.global_step % self.period or not trainer.is_global_zero:
            return
        model, sample = module.model, batch[0]
        with evaluating(model):
            detections = model.detect_images([sample["image"]])[0]
        image = sample["image"].flip(0) if model.input_format == "BGR" else sample["image"]
        image = np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
        picture = training_picture(
            image, target=sample, detections=detections, class_names=module.class_names
        )
        writer = self.events.experiment
        writer.add_image("training", picture, trainer.global_step, dataformats="HWC")
