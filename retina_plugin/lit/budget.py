"""The time budget of a run on Lightning."""

from __future__ import annotations

import contextlib
from typing import Any

import lightning

from retina_plugin.engine.budget import Budget
from retina_plugin.engine.evaluation_time import estimate_evaluation_seconds
from retina_plugin.engine.run_budget import start_steps
from retina_plugin.lit.module import RetinaNetModule


class BudgetCallback(lightning.Callback):
    """Reports the start of the steps and the times of evaluations to the budget.

    It must come after the callback that writes the best model, whose time belongs to the
    evaluation. The steps are reported by :class:`RetinaNetModule`.

    Args:
        budget: the budget of the run.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._evaluation = contextlib.ExitStack()

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        assert isinstance(module, RetinaNetModule)
        seconds = estimate_evaluation_seconds(
            module.model, module.cfg, processes=trainer.world_size
        )
        start_steps(self.budget, evaluation_seconds=seconds)

    def on_validation_start(self, *args: Any) -> None:
        self._evaluation.enter_context(self.budget.measure_evaluation())

    def on_validation_end(self, *args: Any) -> None:
        self._evaluation.close()
