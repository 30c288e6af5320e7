"""What a run writes and shows: progress, ``metrics.json``, TensorBoard events, checkpoints,
pictures. Files as Detectron2's."""

from __future__ import annotations

import functools
import json
import os
import time
from collections import Counter
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from tqdm import tqdm

from retina_plugin.config.files import AppendedFile
from retina_plugin.engine.checkpoints import write_checkpoint
from retina_plugin.engine.events import EventFile
from retina_plugin.lit.module import Module
from retina_plugin.modeling.retinanet import evaluating

LOG_PERIOD = 20  # steps, as in Detectron2


class Progress(lightning.Callback):
    """A bar with loss, learning rate and time left; another one for evaluation."""

    def _open(self, trainer: lightning.Trainer, **arguments: Any) -> tqdm:
        return tqdm(mininterval=1, disable=not trainer.is_global_zero, **arguments)

    def on_train_start(self, trainer: lightning.Trainer, module: Module) -> None:
        self.steps = self._open(
            trainer,
            total=trainer.max_steps,
            initial=trainer.global_step,
            desc="training",
            unit="it",
        )

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Module, outputs: Any, *args: Any
    ) -> None:
        self.steps.set_postfix(
            loss=f"{float(outputs['loss']):.3f}", lr=f"{module.lr:.1e}", refresh=False
        )
        self.steps.update()

    def on_train_end(self, trainer: lightning.Trainer, module: Module) -> None:
        self.steps.close()

    def on_validation_start(self, trainer: lightning.Trainer, module: Module) -> None:
        total = sum(trainer.num_val_batches)
        self.images = self._open(trainer, total=total, desc="evaluation", unit="image", leave=False)

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self.images.update()

    def on_validation_end(self, trainer: lightning.Trainer, module: Module) -> None:
        self.images.close()

    def on_exception(self, *args: Any) -> None:
        for bar in vars(self).values():
            if isinstance(bar, tqdm):  # Lightning hangs other things on a callback
                bar.close()


class Writer(lightning.Callback):
    """Scalars, every 20 steps and after each evaluation, as a line of ``metrics.json`` and as
    TensorBoard events."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.sums: Counter[str] = Counter()
        self.steps, self.started = 0, 0.0

    @functools.cached_property
    def events(self) -> EventFile:
        """Of rank 0 only: opening it makes a file."""
        return EventFile(self.folder)

    @functools.cached_property
    def metrics(self) -> AppendedFile:
        """Of rank 0 only."""
        return AppendedFile(os.path.join(self.folder, "metrics.json"))

    def on_train_start(self, *args: Any) -> None:
        self.started = time.perf_counter()

    def on_train_batch_start(self, *args: Any) -> None:
        self.sums["data_time"] += time.perf_counter() - self.started

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Module, outputs: Any, *args: Any
    ) -> None:
        self.sums.update(
            {
                "total_loss" if name == "loss" else name: float(value)
                for name, value in outputs.items()
            }
        )
        now = time.perf_counter()
        self.sums["time"] += now - self.started
        self.started = now
        self.steps += 1
        if trainer.global_step % LOG_PERIOD == 0 or trainer.global_step == trainer.max_steps:
            names = sorted(self.sums)
            means = torch.tensor(
                [self.sums[name] / self.steps for name in names], device=module.device
            )
            scalars = dict(
                zip(names, trainer.strategy.reduce(means, reduce_op="mean").tolist(), strict=True)
            )
            left = (trainer.max_steps - trainer.global_step) * scalars["time"]
            self.write(trainer, scalars | {"lr": module.lr, "eta_seconds": left})
            self.sums, self.steps = Counter(), 0

    def on_validation_end(self, trainer: lightning.Trainer, module: Module) -> None:
        scalars = dict(flatten(module.results))
        if (
            scalars and module.evaluated_at == trainer.global_step
        ):  # none without ground truth; old ones if it was stopped
            self.write(trainer, scalars)
        self.started = time.perf_counter()  # evaluation is no part of a step's time

    def write(self, trainer: lightning.Trainer, scalars: dict[str, float]) -> None:
        """Append one line, on rank 0; a run that is killed leaves whole lines behind."""
        if not trainer.is_global_zero:
            return
        iteration = max(trainer.global_step - 1, 0)
        self.metrics.write(json.dumps({"iteration": iteration, **scalars}, sort_keys=True) + "\n")
        for name, value in scalars.items():
            self.events.add_scalar(name, value, iteration)


def flatten(results: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """{"bbox": {"AP": 1.0}} -> [("bbox/AP", 1.0)]."""
    pairs: list[tuple[str, float]] = []
    for name, value in results.items():
        pairs += (
            flatten(value, f"{prefix}{name}/")
            if isinstance(value, dict)
            else [(prefix + name, value)]
        )
    return pairs


class Checkpoints(lightning.Callback):
    """``model_0004999.pth`` every period, ``model_final.pth`` at the end, ``last_checkpoint``
    naming the newest; whole or not at all."""

    def __init__(self, folder: str, period: int) -> None:
        self.folder, self.period = folder, period

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Module, *args: Any) -> None:
        step = trainer.global_step
        if step == trainer.max_steps:
            module.require_finite()
            self.save(trainer, "model_final.pth")
        elif step % self.period == 0:
            self.save(trainer, f"model_{step - 1:07d}.pth")

    def save(self, trainer: lightning.Trainer, name: str) -> None:
        """Write on rank 0; every rank must call it."""
        trainer.save_checkpoint(os.path.join(self.folder, name))


class CheckpointFiles(TorchCheckpointIO):
    """How Lightning writes a checkpoint. Its own way goes through a temporary folder, which may be
    on a smaller disk."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        write_checkpoint(checkpoint, str(path))


class Pictures(lightning.Callback):
    """Truth beside detections of a training image in TensorBoard, every ``VIS_PERIOD`` steps."""

    def __init__(self, writer: Writer, period: int) -> None:
        self.writer, self.period = writer, period

    @torch.no_grad()
    def on_train_batch_start(
        self, trainer: lightning.Trainer, module: Module, batch: Any, *args: Any
    ) -> None:
        from retina_plugin.report import training_picture

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
        self.writer.events.add_image("training", picture, trainer.global_step, dataformats="HWC")
