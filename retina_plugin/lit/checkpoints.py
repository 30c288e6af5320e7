"""Checkpoints of a run on Lightning: files as Detectron2's, each whole or not at all."""

from __future__ import annotations

import os
from typing import Any

import lightning
from lightning.pytorch.plugins.io import TorchCheckpointIO

from retina_plugin.checkpoint.checksum import save_with_checksum, saved_size
from retina_plugin.config.files import atomic_file
from retina_plugin.engine.checkpoints import (
    CHECKPOINT,
    FINAL,
    checkpoint_name,
    write_checkpoint,
)
from retina_plugin.lit.module import RetinaNetModule


class CheckpointCallback(lightning.Callback):
    """``model_0004999.pth`` every period, ``model_final.pth`` at the end, ``last_checkpoint``
    naming the newest."""

    def __init__(self, folder: str, period: int) -> None:
        self.folder, self.period = folder, period
        self.path = ""  # of the newest one

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: RetinaNetModule, *args: Any
    ) -> None:
        if trainer.global_step == trainer.max_steps:
            self.save(trainer, FINAL)
        elif trainer.global_step % self.period == 0:
            self.save(trainer)

    def save(self, trainer: lightning.Trainer, name: str = "") -> None:
        """Write the checkpoint of the step that is done, on rank 0, unless it is there; every rank
        must call it.

        Args:
            name: of the file; with the number of the step when it is "".
        """
        name = name or checkpoint_name(trainer.global_step, trainer.max_steps)
        path = os.path.join(self.folder, name)
        if path == self.path:
            return
        if name == FINAL:
            trainer.lightning_module.require_finite()
        trainer.save_checkpoint(path)
        self.path = path


class CheckpointFiles(TorchCheckpointIO):
    """How Lightning writes a checkpoint. Its own way goes through a temporary folder, which may be
    on a smaller disk."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        folder, name = os.path.split(str(path))
        if CHECKPOINT.fullmatch(name):
            write_checkpoint(checkpoint, str(path))
            return
        os.makedirs(folder, exist_ok=True)  # of a user's callback, which may remove it again
        with atomic_file(str(path), size=lambda: saved_size(checkpoint)) as draft:
            save_with_checksum(checkpoint, draft)
