"""Hooks of Detectron2's trainer: averaged weights, evaluations, the best model, and the end after a
signal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from detectron2.engine import HookBase
from detectron2.utils import comm

from retina_plugin.engine import stopping
from retina_plugin.engine.best_model import BestModel
from retina_plugin.engine.checkpoints import FINAL
from retina_plugin.engine.summary import LOG_PERIOD, flatten_results, print_evaluation
from retina_plugin.solver import WeightAverage

if TYPE_CHECKING:
    from retina_plugin.d2.trainer import RetinaTrainer

Results = dict[str, Any]


class AverageHook(HookBase):
    """Updates the averaged weights after each step. It must come before the hook that saves
    checkpoints."""

    trainer: RetinaTrainer

    def __init__(self, average: WeightAverage) -> None:
        self.average = average

    def after_step(self) -> None:
        self.average.update(step=self.trainer.iter + 1, steps=self.trainer.max_iter)


class EvaluationHook(HookBase):
    """Evaluates during training and after the last step, keeps the best model, and ends the
    training after ``PATIENCE`` evaluations without a new best.

    It must come after the hook that saves checkpoints, so that an error in an evaluation loses no
    step, and before the hook that writes scalars.
    """

    trainer: RetinaTrainer

    def __init__(
        self,
        evaluate: Callable[[], Results],
        best: BestModel,
        *,
        write_best: Callable[[], None],
    ) -> None:
        """
        Args:
            evaluate: evaluates the model on the validation sets; returns the results on the main
                process.
            best: takes the results.
            write_best: writes the model that was evaluated last; called on the main process.
        """
        self.evaluate, self.best, self.write_best = evaluate, best, write_best
        self.results: Results | None = None  # results of the last evaluation

    def state_dict(self) -> dict[str, Any]:
        return self.best.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best.load_state_dict(state)

    def before_train(self) -> None:
        """Make an evaluation that was due before the run was resumed, and end a run whose
        ``PATIENCE`` is used up."""
        step = self.trainer.iter + 1
        if self.best.misses_evaluation(step, self.trainer.max_iter):
            self._evaluate(step)
        elif step and self.best.is_exhausted:
            self._end_training(step)

    def after_step(self) -> None:
        step = self.trainer.iter + 1
        if self.best.misses_evaluation(step, self.trainer.max_iter):
            self._evaluate(step)

    def after_train(self) -> None:
        finished = self.trainer.iter >= self.trainer.max_iter
        if finished and self.results is None and self.best.sets:
            self.results = self.evaluate()  # to report a resumed run without steps left

    def _evaluate(self, step: int) -> None:
        budget = self.trainer.budget
        with budget.measure_evaluation() if budget else contextlib.nullcontext():
            self._evaluate_and_choose(step)

    def _evaluate_and_choose(self, step: int) -> None:
        self.results = self.evaluate()
        # only the main rank has results
        results = comm.all_gather(self.results)[0]
        self.trainer.storage.put_scalars(**flatten_results(results), smoothing_hint=False)
        main = comm.is_main_process()
        if main:
            print_evaluation(results, step=step, steps=self.trainer.max_iter)
            if results:  # there is ground truth
                self.trainer.trackers.log_validation_images(iteration=step - 1)
        if self.best.update(results, step=step) and main:
            self.write_best()
        if self.best.is_exhausted:
            self._end_training(step)
        in_step = step > self.trainer.start_iter
        # Detectron2's hook writes after these steps
        written = step % LOG_PERIOD == 0 or step >= self.trainer.max_iter
        if main and not (in_step and written):
            self.trainer.write_scalars()
        comm.synchronize()

    def _end_training(self, step: int) -> None:
        if step >= self.trainer.max_iter:
            return
        if comm.is_main_process():
            print(self.best.stop_message(step, self.trainer.max_iter), flush=True)
        self.trainer.max_iter = step
        self.trainer.checkpointer.save(FINAL.removesuffix(".pth"), iteration=step - 1)


class StopHook(HookBase):
    """Ends the run after a signal. It is the last hook, so the others have finished the step."""

    def after_step(self) -> None:
        stopping.requested_on_any_rank()
        stopping.raise_if_requested()
