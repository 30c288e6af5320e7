"""Choose the best model of a run by its evaluations, and notice when they stop improving."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from retina_plugin.checkpoint import WeightsError, read_checkpoint
from retina_plugin.checkpoint.checksum import save_with_checksum, saved_size
from retina_plugin.config.errors import ConfigError
from retina_plugin.config.files import atomic_file
from retina_plugin.config.registry import nearest_names
from retina_plugin.data import final_sets, validation_sets
from retina_plugin.data.evaluation_sets import VALIDATION
from retina_plugin.engine.budget import Budget
from retina_plugin.engine.checkpoints import BEST, FINAL
from retina_plugin.engine.portable_names import portable_name
from retina_plugin.engine.ranks import current_rank
from retina_plugin.engine.resume import completed_steps
from retina_plugin.engine.run_thresholds import threshold_metadata
from retina_plugin.engine.summary import flatten_results

KEY = "MODEL.RETINA_PLUGIN.SOLVER.BEST_METRIC"
LOSSES = ("total_loss", "loss_cls", "loss_box_reg", "loss_quality")
# the names of losses in evaluations; CRITERION can have more than those of LOSSES
LOSS = re.compile(r"validation/(total_loss|loss_[^/]*)")
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def measured_metrics(cfg: Any, class_names: Sequence[str]) -> list[str]:
    """Return the names of the values that evaluations during training log.

    With several validation sets each name starts with the set: ``val.json@images/bbox/AP``.

    Args:
        cfg: the config of the run.
        class_names: K names. The AP of each class is logged if there are several.
    """
    classes = [f"AP-{name}" for name in class_names] if len(class_names) > 1 else []
    sets = validation_sets(cfg)
    prefixes = [f"{name}/" for name in sets] if len(sets) > 1 else [""]
    names = [f"bbox/{name}" for name in (*METRICS, *classes)]
    if cfg.MODEL.META_ARCHITECTURE == "FocalRetinaNet":
        names += [f"validation/{name}" for name in LOSSES]
    return [prefix + name for prefix in prefixes for name in names]


def check_selection(cfg: Any, class_names: Sequence[str]) -> None:
    """Check that evaluations measure ``BEST_METRIC``, and that a run with ``PATIENCE`` evaluates.

    Raises:
        ConfigError: the metric is not measured (the message has the nearest names), or
            ``PATIENCE`` is set and there are no evaluations during training.
    """
    solver, sets = cfg.MODEL.RETINA_PLUGIN.SOLVER, validation_sets(cfg)
    metric, measured = solver.BEST_METRIC, measured_metrics(cfg, class_names)
    if solver.PATIENCE and not (sets and cfg.TEST.EVAL_PERIOD):
        cause = "TEST.EVAL_PERIOD is 0" if sets else f"{VALIDATION} and DATASETS.TEST are empty"
        raise ConfigError(
            f"MODEL.RETINA_PLUGIN.SOLVER.PATIENCE: expected 0, because {cause} and the run has no "
            f"evaluations to count, found {solver.PATIENCE}"
        )
    means = [name.removeprefix(f"{sets[0]}/") for name in measured] if len(sets) > 1 else []
    known = dict.fromkeys([*means, *measured])
    other_losses = cfg.MODEL.RETINA_PLUGIN.CRITERION.NAME != "DenseCriterion"
    if metric not in known and not (other_losses and "validation/loss_" in metric):
        raise ConfigError(
            f"{KEY}: {metric!r} is not measured by evaluations. {nearest_names(metric, known)}"
        )


def selection_note(cfg: Any) -> str:
    """Return a line if the best model is chosen on the test sets; empty if it is not."""
    if not (cfg.TEST.EVAL_PERIOD and cfg.DATASETS.TEST):
        return ""
    if cfg.MODEL.RETINA_PLUGIN.DATASETS.VALIDATION:
        return ""
    return (
        f"{BEST} is chosen on the images that are tested, DATASETS.TEST: on new images it can be "
        f"worse. {VALIDATION} names other images to choose it on."
    )


class FinalEvaluation(NamedTuple):
    """The evaluation whose results a run reports at its end.

    Attributes:
        sets: names of the data sets; may be empty.
        weights: the checkpoint.
        is_done: whether the last evaluation during training was this one.
        prefix: prefix of its metrics in ``metrics.json``; empty if the run has logged the same
            metrics before.
        note: a line to print that names the weights.
    """

    sets: list[str]
    weights: str
    is_done: bool
    prefix: str
    note: str


class BestModel:
    """Keeps the weights of the best evaluation of a run in ``model_best.pth``.

    The first of several equal evaluations is the best one. An evaluation whose metric is NaN is
    never the best. With several validation sets, a metric without the name of a set is the mean
    over the sets that measure it.

    Attributes:
        value: the metric of the best evaluation; None before the first one.
        step: the number of steps before the best evaluation.
        waited: the number of evaluations since then; those before the metric is above 0 for the
            first time do not count, because nothing has been detected yet.
        evaluated_at: the number of steps before the last evaluation; -1 before the first one.
    """

    def __init__(self, cfg: Any, *, budget: Budget | None = None) -> None:
        """
        Args:
            cfg: the config of the run.
            budget: the time budget of the run, which decides when to evaluate.
        """
        self._cfg, node = cfg, cfg.MODEL.RETINA_PLUGIN.SOLVER
        self.metric: str = node.BEST_METRIC
        self.patience: int = node.PATIENCE
        self.sets = validation_sets(cfg)
        self.folder: str = cfg.OUTPUT_DIR
        self.has_validation_sets = bool(cfg.MODEL.RETINA_PLUGIN.DATASETS.VALIDATION)
        self.period: int = cfg.TEST.EVAL_PERIOD
        self.budget = budget
        # without evaluations during training, no model is chosen
        self.keeps_weights = self.period > 0
        self.value: float | None = None
        self.step, self.waited, self.evaluated_at = 0, 0, -1
        self._thresholds: tuple[int, dict[str, Any]] | None = None  # of the last weights written

    def update(self, results: Mapping[str, Any], *, step: int) -> bool:
        """Take the results of an evaluation, and return whether it is the best one so far.

        Args:
            results: see :func:`retina_plugin.engine.summary.evaluation_summary`; empty without
                ground truth. An evaluation without results is never the best.
            step: the number of completed steps.

        Raises:
            ConfigError: the results do not have ``BEST_METRIC``.
        """
        self.evaluated_at = step
        measured = flatten_results(results)
        if not measured:
            return False
        value = self._metric_of(measured)
        if not self._is_better(value):
            self.waited += bool(self.value)
            return False
        self.value, self.step, self.waited = value, step, 0
        return True

    def _metric_of(self, measured: Mapping[str, float]) -> float:
        names = [self.metric, *(f"{name}/{self.metric}" for name in self.sets)]
        found = [measured[name] for name in names if name in measured]
        if not found:
            raise ConfigError(
                f"{KEY}: {self.metric!r} is not measured by evaluations. "
                f"{nearest_names(self.metric, measured)}"
            )
        values = [value for value in found if not math.isnan(value)]
        return sum(values) / len(values) if values else math.nan

    def _is_better(self, value: float) -> bool:
        if math.isnan(value):
            return False
        if self.value is None:
            return True
        return value < self.value if self.lower_is_better else value > self.value

    @property
    def lower_is_better(self) -> bool:
        """Whether the metric is a loss. The AP of a class with the name "loss" is not one."""
        names = [self.metric, *(self.metric.removeprefix(f"{name}/") for name in self.sets)]
        return any(LOSS.fullmatch(name) for name in names)

    @property
    def is_exhausted(self) -> bool:
        """Whether ``PATIENCE`` evaluations in a row were not the best."""
        return 0 < self.patience <= self.waited

    def misses_evaluation(self, step: int, steps: int) -> bool:
        """Return whether the evaluation after ``step`` of ``steps`` steps is due and was not made.

        A checkpoint is saved before the evaluation after the same step, so a run that resumes from
        it makes this evaluation first.
        """
        if self.budget is None:
            due = step >= steps or (self.period > 0 and step % self.period == 0)
        else:
            due = step >= steps or self.budget.is_evaluation_due
        return bool(self.sets) and step > 0 and due and step != self.evaluated_at

    def stop_message(self, step: int, steps: int) -> str:
        """Return the line for a run that ends because of ``PATIENCE``."""
        return (
            f"training ends after step {step} of {steps}: no new best {self.metric} in "
            f"{self.waited} evaluations (PATIENCE {self.patience}); {self}"
        )

    def final_evaluation(self, cfg: Any, step: int) -> FinalEvaluation:
        """Return the evaluation at the end of the run, after ``step`` steps.

        The weights are ``model_best.pth`` if it was chosen on ``DATASETS.VALIDATION``, else
        ``model_final.pth``.
        """
        names, final = final_sets(cfg), os.path.join(self.folder, FINAL)
        best, of_validation = os.path.join(self.folder, BEST), names == self.sets
        if not (self.has_validation_sets and self.keeps_weights and self.step):
            note = f"weights of the results below: {final}, after step {step}"
            return FinalEvaluation(names, final, of_validation, "test/", note)
        note = f"weights of the results below: {best}, {self}"
        # the weights of step can be those of an earlier attempt, see load_state_dict
        is_done = of_validation and self.step == step and self.waited == 0
        return FinalEvaluation(names, best, is_done, "" if of_validation else "test/", note)

    def write(self, model: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        """Write ``model_best.pth`` after an evaluation that is the best one, and print a line.

        The score thresholds of the evaluation are added to the metadata. Nothing is done if the run
        evaluates only at its end.

        Args:
            model: the state dict that was evaluated.
            metadata: see :func:`retina_plugin.checkpoint.checkpoint_metadata`.

        Raises:
            DiskError: the file cannot be written; the earlier one is unchanged.
        """
        if not self.keeps_weights:
            return
        sets = self._portable_sets(self.sets)
        best = {"metric": self.metric, "value": self.value, "sets": sets}
        self._thresholds = self.step, threshold_metadata(self._cfg)
        content = {
            "model": dict(model),
            "metadata": {**metadata, **self._thresholds[1]},
            "iteration": self.step - 1,
            "best": best,
        }
        path = os.path.join(self.folder, BEST)
        with atomic_file(path, size=lambda: saved_size(content)) as draft:
            save_with_checksum(content, draft)
        print(f"{BEST}: {self}", flush=True)

    def last_thresholds(self, step: int) -> dict[str, Any]:
        """Return the score thresholds of the last evaluation, which was made after ``step`` steps;
        see :func:`retina_plugin.engine.run_thresholds.threshold_metadata`.

        They are computed only if :meth:`write` has not done so for the same evaluation.
        """
        if self._thresholds is not None and self._thresholds[0] == step:
            return self._thresholds[1]
        return threshold_metadata(self._cfg)

    def __str__(self) -> str:
        if not self.step:
            return f"no {self.metric} yet"
        return f"best {self.metric} {self.value:.4g}, after step {self.step}"

    def state_dict(self) -> dict[str, Any]:
        names = ("metric", "value", "step", "waited", "evaluated_at")
        sets = self._portable_sets(self.sets)
        return {"sets": sets, **{name: getattr(self, name) for name in names}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint, unless the metric or the validation sets have changed.

        The best evaluation is that of ``model_best.pth``, which a killed run may have written after
        the checkpoint. Without the file, the next evaluation is the best one.
        """
        if not self._is_comparable(state):
            return
        self.value, self.step, self.waited = state["value"], state["step"], state["waited"]
        self.evaluated_at = state["evaluated_at"]
        if not self.keeps_weights:
            return
        self.value, self.step = self._read_saved()
        if self.step > state["step"] and current_rank() == 0:
            print(f"{BEST}: {self}, which was after this checkpoint; it is kept", flush=True)

    def _read_saved(self) -> tuple[float | None, int]:
        """Return value and step of ``model_best.pth``; None and 0 without a file of this metric."""
        try:
            checkpoint = read_checkpoint(os.path.join(self.folder, BEST))
        except WeightsError:
            return None, 0
        best = checkpoint.get("best", {})
        if not self._is_comparable(best):
            return None, 0
        return best["value"], completed_steps(checkpoint)

    def _portable_sets(self, names: Sequence[str]) -> list[str]:
        """Return names of data sets that are the same if the folder of the run is moved."""
        return [portable_name(name, self.folder) for name in names]

    def _is_comparable(self, other: Mapping[str, Any]) -> bool:
        """Return whether "metric" and "sets" of ``other`` are those of this run."""
        sets = self._portable_sets(other.get("sets", ()))
        return (other.get("metric"), sets) == (self.metric, self._portable_sets(self.sets))
