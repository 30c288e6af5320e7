"""Stop a run on Lightning when a signal asks for it: save a checkpoint after the step under way."""

from __future__ import annotations

import os
from typing import Any

import lightning

from retina_plugin.engine import stopping
from retina_plugin.lit.callbacks import Checkpoints
from retina_plugin.lit.module import Module


class Stop(lightning.Callback):
    """The last callback, so that everything of the step is in the checkpoint.

    Args:
        checkpoints: saves, unless it has just done so.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self.path = ""  # of the newest checkpoint, once the run is asked to stop

    def setup(self, *args: Any, **kwargs: Any) -> None:
        # Lightning is about to set its own handler, which broadcasts in the middle of a step.
        stopping.hold()

    def on_train_start(self, *args: Any) -> None:
        stopping.install()

    def on_validation_start(self, *args: Any) -> None:
        stopping.install()

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Module, *args: Any) -> None:
        self._stop_if_asked(trainer, module)

    def on_validation_end(self, trainer: lightning.Trainer, module: Module) -> None:
        if trainer.state.fn == "fit":  # not in the evaluation after training, where all is saved
            self._stop_if_asked(trainer, module)

    def _stop_if_asked(self, trainer: lightning.Trainer, module: Module) -> None:
        if not stopping.agree():
            return
        # else it evaluates now
        step, trainer.should_stop, trainer.limit_val_batches = trainer.global_step, True, 0
        name = "model_final.pth" if step == trainer.max_steps else f"model_{step - 1:07d}.pth"
        self.path = os.path.join(self.checkpoints.folder, name)
        if step % self.checkpoints.period and step != trainer.max_steps:
            self.checkpoints.save(trainer, name)
