"""Stop a run on Lightning when a signal or a callback asks for it: save a checkpoint after the step
under way."""

from __future__ import annotations

from typing import Any

import lightning

from retina_plugin.engine import stopping
from retina_plugin.engine.checkpoints import FINAL
from retina_plugin.lit.checkpoints import CheckpointCallback
from retina_plugin.lit.module import RetinaNetModule


class StopCallback(lightning.Callback):
    """Comes after the callbacks that change something, so that everything of the step is in the
    checkpoint.

    Args:
        checkpoints: saves, unless it has just done so.
    """

    def __init__(self, checkpoints: CheckpointCallback) -> None:
        self.checkpoints = checkpoints

    def setup(self, *args: Any, **kwargs: Any) -> None:
        # Lightning is about to set its own handler, which broadcasts in the middle of a step.
        stopping.block_signals()

    def on_train_start(self, *args: Any) -> None:
        stopping.install_handlers()

    def on_validation_start(self, *args: Any) -> None:
        stopping.install_handlers()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: RetinaNetModule, *args: Any
    ) -> None:
        self._stop_if_requested(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, module: RetinaNetModule) -> None:
        if trainer.state.fn == "fit":  # not in the evaluation after training, where all is saved
            self._stop_if_requested(trainer)

    def _stop_if_requested(self, trainer: lightning.Trainer) -> None:
        if stopping.requested_on_any_rank():
            # else it evaluates now
            trainer.should_stop, trainer.limit_val_batches = True, 0
            self.checkpoints.save(trainer)
        elif trainer.should_stop and trainer.global_step < trainer.max_steps:
            self.checkpoints.save(trainer, FINAL)  # EarlyStopping, for example

    def on_train_end(self, trainer: lightning.Trainer, module: RetinaNetModule) -> None:
        early = trainer.global_step < trainer.max_steps and not stopping.requested_signal()
        if early and trainer.is_global_zero:
            print(
                f"training ended after step {trainer.global_step} of {trainer.max_steps}, because "
                f"a callback asked for it (checkpoint: {self.checkpoints.path})",
                flush=True,
            )
