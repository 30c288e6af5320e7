"""Stop a run on Lightning after a signal or at the request of a callback: finish the step and save
a checkpoint."""

from __future__ import annotations

from typing import Any

import lightning

from retina_plugin.engine import stopping
from retina_plugin.engine.checkpoints import FINAL
from retina_plugin.lit.checkpoints import CheckpointCallback


class StopCallback(lightning.Callback):
    """Saves a checkpoint when training stops early.

    It must come after the callbacks that have a state, so that the checkpoint has their state after
    the step.

    Args:
        checkpoints: saves the checkpoint, unless the step has one already.
    """

    def __init__(self, checkpoints: CheckpointCallback) -> None:
        self.checkpoints = checkpoints

    def setup(self, *args: Any, **kwargs: Any) -> None:
        # Lightning will install its own handler, which broadcasts in the middle of a step.
        stopping.block_signals()

    def on_train_start(self, *args: Any) -> None:
        stopping.install_handlers()

    def on_validation_start(self, *args: Any) -> None:
        stopping.install_handlers()

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any, **kwargs: Any) -> None:
        self._stop_if_requested(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, *args: Any, **kwargs: Any) -> None:
        if trainer.state.fn == "fit":  # after training, everything is saved already
            self._stop_if_requested(trainer)

    def _stop_if_requested(self, trainer: lightning.Trainer) -> None:
        if stopping.requested_on_any_rank():
            # with limit_val_batches 0 Lightning stops without an evaluation
            trainer.should_stop, trainer.limit_val_batches = True, 0
            self.checkpoints.save(trainer)
        elif trainer.should_stop and trainer.global_step < trainer.max_steps:
            self.checkpoints.save(trainer, FINAL)  # stopped by a callback, e.g. EarlyStopping

    def on_train_end(self, trainer: lightning.Trainer, *args: Any, **kwargs: Any) -> None:
        early = trainer.global_step < trainer.max_steps and not stopping.requested_signal()
        if early and trainer.is_global_zero:
            print(
                f"training ended after step {trainer.global_step} of {trainer.max_steps}, because "
                f"a callback asked for it (checkpoint: {self.checkpoints.path})",
                flush=True,
            )
