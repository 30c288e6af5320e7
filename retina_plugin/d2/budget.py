"""The time budget of a run on Detectron2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from detectron2.engine import HookBase
from detectron2.engine.hooks import PeriodicCheckpointer
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter

from retina_plugin.config.errors import ConfigError
from retina_plugin.engine.budget import Budget
from retina_plugin.engine.evaluation_time import estimate_evaluation_seconds
from retina_plugin.engine.run_budget import finish_step, start_steps

if TYPE_CHECKING:
    from retina_plugin.d2.trainer import RetinaTrainer


class BudgetHook(HookBase):
    """Reports the steps to the budget, and gives the trainer the number of steps.

    It must be the first hook: the learning rate and the checkpoint of a step depend on it.
    """

    trainer: RetinaTrainer

    def __init__(self, budget: Budget, checkpoints: Sequence[PeriodicCheckpointer]) -> None:
        """
        Args:
            budget: the budget of the run.
            checkpoints: the hooks that save checkpoints; empty on all but the main process.
        """
        self.budget, self.checkpoints = budget, checkpoints

    def before_train(self) -> None:
        if self.budget.is_finished:  # a resumed run that is only evaluated
            return
        model, processes = self.trainer.unwrapped_model, comm.get_world_size()
        seconds = estimate_evaluation_seconds(model, self.trainer.cfg, processes=processes)
        start_steps(self.budget, evaluation_seconds=seconds)

    def after_step(self) -> None:
        try:
            finish_step(self.budget)
        except ConfigError:
            self.trainer.writers.clear()  # so that a new run may use the folder
            raise
        self.trainer.max_iter = self.budget.predicted_steps
        for hook in self.checkpoints:
            hook.max_iter = self.trainer.max_iter
        if self.budget.is_finished:
            self.trainer.require_finite()


class BudgetPrinter(CommonMetricPrinter):
    """Prints Detectron2's lines with the remaining time of the budget.

    It also stores this time as the scalar "eta_seconds".
    """

    def __init__(self, budget: Budget) -> None:
        super().__init__(budget.predicted_steps)
        self.budget = budget

    def write(self) -> None:
        self._max_iter = self.budget.predicted_steps
        super().write()

    def _get_eta(self, storage: Any) -> str:
        storage.put_scalar("eta_seconds", self.budget.seconds_left, smoothing_hint=False)
        return str(self.budget)
