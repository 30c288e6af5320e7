"""Save checkpoints with Lightning, atomically and in Detectron2's format."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import lightning
from lightning.pytorch.plugins.io import TorchCheckpointIO

from retina_plugin.checkpoint.checksum import save_with_checksum, saved_size
from retina_plugin.config.files import atomic_file
from retina_plugin.engine.budget import Budget
from retina_plugin.engine.checkpoints import (
    CHECKPOINT,
    FINAL,
    checkpoint_name,
    remove_old_checkpoints,
    write_checkpoint,
)
from retina_plugin.lit.module import RetinaNetModule


class CheckpointCallback(lightning.Callback):
    """Saves ``model_0004999.pth`` every ``period`` steps and ``model_final.pth`` after the last
    step, and writes the name of the newest into ``last_checkpoint``."""

    def __init__(self, folder: str, period: int) -> None:
        self.folder, self.period = folder, period
        self.path = ""  # path of the newest checkpoint of this process

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any, **kwargs: Any) -> None:
        if trainer.global_step == trainer.max_steps:
            self.save(trainer, FINAL)
        elif trainer.global_step % self.period == 0:
            self.save(trainer)

    def save(self, trainer: lightning.Trainer, name: str = "") -> None:
        """Save a checkpoint unless the last one has the same name. Every rank must call this; only
        rank 0 writes.

        Args:
            name: the name of the file; "" for the name with the number of the step.
        """
        name = name or checkpoint_name(trainer.global_step, trainer.max_steps)
        path = os.path.join(self.folder, name)
        if path == self.path:
            return
        if name == FINAL:
            assert isinstance(trainer.lightning_module, RetinaNetModule)
            trainer.lightning_module.require_finite()
        trainer.save_checkpoint(path)
        self.path = path


class CheckpointFiles(TorchCheckpointIO):
    """Writes Lightning's checkpoints in their final folder. Lightning would write them to a
    temporary folder first, which may be on a smaller disk.

    Args:
        keep: see :func:`retina_plugin.engine.checkpoints.remove_old_checkpoints`.
        budget: gets the time of each checkpoint.
    """

    def __init__(self, keep: int, *, budget: Budget | None = None) -> None:
        self.keep, self.budget = keep, budget

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        with self.budget.measure_checkpoint() if self.budget else contextlib.nullcontext():
            self._write(checkpoint, str(path))

    def _write(self, checkpoint: dict[str, Any], path: str) -> None:
        folder, name = os.path.split(path)
        if CHECKPOINT.fullmatch(name):
            write_checkpoint(checkpoint, path)
            remove_old_checkpoints(path, self.keep)
            return
        os.makedirs(folder, exist_ok=True)  # a user's callback may have removed it
        with atomic_file(path, size=lambda: saved_size(checkpoint)) as draft:
            save_with_checksum(checkpoint, draft)
