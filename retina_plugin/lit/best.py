"""Keep the best model of a run on Lightning, and end the training when it stops improving."""

from __future__ import annotations

from typing import Any

import lightning

from retina_plugin.engine import stopping
from retina_plugin.engine.best_model import BestModel
from retina_plugin.lit.module import RetinaNetModule


class BestModelCallback(lightning.Callback):
    """Writes ``model_best.pth`` after the best evaluation, and ends the training after ``PATIENCE``
    evaluations without a new best.

    It must come before the callbacks that save checkpoints with its state.

    Args:
        best: gets the results of evaluations; its state is saved in checkpoints.
    """

    def __init__(self, best: BestModel) -> None:
        self.best = best

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Make an evaluation that was due before the run was resumed, and end a run whose
        ``PATIENCE`` is used up."""
        step, steps = trainer.global_step, trainer.max_steps
        if self.best.misses_evaluation(step, steps):
            _evaluate(trainer)
        elif step and self.best.is_exhausted:
            self._end_training(trainer)

    def on_validation_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> None:
        assert isinstance(module, RetinaNetModule)
        if stopping.requested_signal():
            return  # some images are missing
        if self.best.update(module.results, step=trainer.global_step) and trainer.is_global_zero:
            self.best.write(module.evaluated_state(), module.metadata())
        if trainer.state.fn == "fit" and self.best.is_exhausted:
            self._end_training(trainer)

    def _end_training(self, trainer: lightning.Trainer) -> None:
        if trainer.global_step < trainer.max_steps and not trainer.should_stop:
            trainer.should_stop = True
            if trainer.is_global_zero:
                print(self.best.stop_message(trainer.global_step, trainer.max_steps), flush=True)

    def state_dict(self) -> dict[str, Any]:
        return self.best.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best.load_state_dict(state)


def _evaluate(trainer: lightning.Trainer) -> None:
    """Evaluate between two steps, as Lightning's training loop does."""
    trainer.validating = True
    trainer.fit_loop.epoch_loop.val_loop.run()
    trainer.training = True
