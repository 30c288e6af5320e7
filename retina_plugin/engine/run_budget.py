"""The time budget of a run: its settings, its errors, and one decision for all processes."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch

from retina_plugin.config.errors import ConfigError
from retina_plugin.config.files import write_atomically
from retina_plugin.config.keys import MINUTES
from retina_plugin.data import final_sets, load_dataset, validation_sets
from retina_plugin.engine.budget import Budget, format_time
from retina_plugin.engine.portable_names import portable_config
from retina_plugin.engine.ranks import current_rank

FINAL_CONFIG = "config_final.yaml"
CLOSING_SECONDS = 3.0  # of pictures, thresholds and last lines, until the process ends
REPORT_SECONDS, REPORT_SECONDS_OF_IMAGE = 3.0, 0.02  # of the report, and for each evaluated image
USEFUL_STEPS = 100  # number of steps in the advice of an error message


def build_budget(cfg: Any, *, started: float) -> Budget | None:
    """Build the budget of a training run; None if ``MINUTES`` is 0.

    Args:
        cfg: the config of the run, with readable data sets.
        started: when the command started, in seconds of ``time.monotonic()``.
    """
    minutes = cfg.MODEL.RETINA_PLUGIN.SOLVER.MINUTES
    if not minutes:
        return None
    return Budget(
        minutes * 60,
        steps=cfg.SOLVER.MAX_ITER,
        evaluation_period=cfg.TEST.EVAL_PERIOD if validation_sets(cfg) else 0,
        final_evaluations=_final_evaluations(cfg),
        closing_seconds=CLOSING_SECONDS + _report_seconds(cfg),
        started=started,
    )


def _report_seconds(cfg: Any) -> float:
    if not cfg.MODEL.RETINA_PLUGIN.TEST.REPORT:
        return 0.0
    images = sum(len(load_dataset(name).records) for name in final_sets(cfg))
    return REPORT_SECONDS + REPORT_SECONDS_OF_IMAGE * images


def _final_evaluations(cfg: Any) -> float:
    """Return the time of the evaluations after the last step, as a multiple of the time of an
    evaluation during training. There is one on the validation sets, and one of the best model."""
    images = sum(len(load_dataset(name).records) for name in validation_sets(cfg))
    if not images:
        return 0.0
    if not (cfg.MODEL.RETINA_PLUGIN.DATASETS.VALIDATION and cfg.TEST.EVAL_PERIOD):
        return 1.0
    return 1 + sum(len(load_dataset(name).records) for name in final_sets(cfg)) / images


def continue_budget(budget: Budget, checkpoint: Mapping[str, Any], *, steps: int) -> None:
    """Continue the budget of a checkpoint, or start one for a run that had none.

    Args:
        budget: a new budget; changed in place.
        checkpoint: the checkpoint from which a run resumes.
        steps: the number of its steps.
    """
    state = checkpoint.get("budget")
    if isinstance(state, Mapping):
        budget.load_state_dict(state)
    else:
        budget.skip_to(steps)


def start_steps(budget: Budget, *, evaluation_seconds: float) -> None:
    """Start the time of the first step; every process calls it.

    Args:
        budget: the budget of the run.
        evaluation_seconds: estimate for an evaluation.

    Raises:
        ConfigError: no time is left for a step.
    """
    budget.start(evaluation_seconds=evaluation_seconds)
    if budget.is_exceeded and current_rank() == 0:
        raise ConfigError(_used_up(budget) if budget.steps else _too_small(budget))


def finish_step(budget: Budget) -> None:
    """Record the time of a step, and copy the first process's decision to all processes.

    Every process calls it.

    Args:
        budget: the budget of the run.

    Raises:
        ConfigError: the first step has shown that the budget is too small.
    """
    budget.finish_step()
    if budget.steps == 1 and budget.is_exceeded and current_rank() == 0:
        raise ConfigError(_too_small(budget))
    _follow_first_process(budget)


def _follow_first_process(budget: Budget) -> None:
    """Copy the decision of the first process to the budgets of all processes."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    decision = torch.tensor(budget.decision(), dtype=torch.float64, device=device)
    torch.distributed.broadcast(decision, src=0)
    steps, left, progress, evaluations = decision.tolist()
    budget.follow((int(steps), int(left), progress, int(evaluations)))


def _too_small(budget: Budget) -> str:
    """Return the message for a budget that is used up before or in the first step."""
    step, end, start = budget.step_seconds, budget.end_seconds, budget.start_seconds
    measured = f"the first step {format_seconds(step)}, " if step else ""
    step = step or 1.0
    least, useful = (_minutes(start + count * step + end) for count in (1, USEFUL_STEPS))
    return (
        f"{MINUTES} {budget.seconds / 60:g}: expected enough for one step, but the start took "
        f"{format_seconds(start)}, {measured}and the end (evaluation, checkpoint, pictures) needs "
        f"about {format_seconds(end)}. Give at least {least:g}; {USEFUL_STEPS} steps need about "
        f"{useful:g}"
    )


def _used_up(budget: Budget) -> str:
    used = budget.elapsed
    more = _minutes(used + USEFUL_STEPS * (budget.step_seconds or 1.0) + budget.end_seconds)
    return (
        f"{MINUTES} {budget.seconds / 60:g}: the run has used {used / 60:.1f} minutes in its "
        f"{budget.steps} steps, and the end needs about {format_seconds(budget.end_seconds)}, so "
        f"no step is left. Resume it with more: for {USEFUL_STEPS} steps give {more:g}"
    )


def format_seconds(seconds: float) -> str:
    """Return a short time: "0.4 s", and from 10 s on as :func:`format_time`."""
    return f"{seconds:.1f} s" if seconds < 10 else format_time(seconds)


def _minutes(seconds: float) -> float:
    """Return minutes, rounded up to a tenth, or to a whole number from 10 on."""
    minutes = seconds / 60
    return math.ceil(minutes) if minutes >= 10 else math.ceil(minutes * 10) / 10


def steps_of_schedule(budget: Budget) -> int:
    """Return the number of steps of a schedule that repeats a run.

    For a run that ended early, for example because of ``PATIENCE``, this is the number of steps
    after which its progress would have been 1 at constant speed.
    """
    return round(budget.steps / budget.progress) if budget.progress else budget.predicted_steps


def finished_config(cfg: Any, steps: int) -> Any:
    """Return a config without a time budget that repeats a finished run.

    ``STEPS`` and ``EVAL_PERIOD`` are scaled with ``MAX_ITER``, so the number of evaluations stays.
    ``WARMUP_ITERS`` is scaled if ``MAX_ITER`` becomes smaller.

    Args:
        cfg: the config of the run, which had a budget; it is not changed.
        steps: see :func:`steps_of_schedule`.
    """
    found = cfg.clone()
    found.defrost()
    solver, scale = found.SOLVER, steps / cfg.SOLVER.MAX_ITER
    solver.MAX_ITER, found.MODEL.RETINA_PLUGIN.SOLVER.MINUTES = steps, 0.0
    scaled = sorted({max(round(step * scale), 1) for step in solver.STEPS} - {steps})
    solver.STEPS = type(cfg.SOLVER.STEPS)(scaled)
    solver.WARMUP_ITERS = round(solver.WARMUP_ITERS * min(scale, 1.0))
    if cfg.TEST.EVAL_PERIOD:
        found.TEST.EVAL_PERIOD = max(round(cfg.TEST.EVAL_PERIOD * scale), 1)
    found.freeze()
    return found


def write_finished_config(cfg: Any, budget: Budget, dump: Callable[[Any], str]) -> None:
    """Write :func:`finished_config` as ``config_final.yaml`` into ``OUTPUT_DIR``.

    Args:
        cfg: the config of the run.
        budget: the budget of the run, after the last step.
        dump: returns the text of a config.
    """
    steps = steps_of_schedule(budget)
    path = os.path.join(cfg.OUTPUT_DIR, FINAL_CONFIG)
    found = portable_config(finished_config(cfg, steps), cfg.OUTPUT_DIR)
    write_atomically(path, dump(found))
    early = "" if budget.is_finished else f", which ended early after step {budget.steps}"
    print(
        f"{path} repeats the run{early}, without a time budget: SOLVER.MAX_ITER {steps}",
        flush=True,
    )
