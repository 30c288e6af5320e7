"""Learning rate schedules: warm-up, then steps or a cosine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from fvcore.common.param_scheduler import (
    CompositeParamScheduler,
    ConstantParamScheduler,
    CosineParamScheduler,
    LinearParamScheduler,
    MultiStepParamScheduler,
    ParamScheduler,
    StepWithFixedGammaParamScheduler,
)
from torch.optim.lr_scheduler import LambdaLR


class FixedGammaSteps(StepWithFixedGammaParamScheduler):  # type: ignore[misc]  # fvcore: no types
    """fvcore's scheduler without its error at the end of training.

    fvcore's raises for ``where == 1``, but PyTorch asks for that value after the last step.
    """

    def __call__(self, where: float) -> float:
        factor: float = super().__call__(min(where, 1 - 2 * self.WHERE_EPSILON))
        return factor


def build_schedule(solver: Any) -> ParamScheduler:
    """Build the learning rate schedule.

    Args:
        solver: the ``SOLVER`` node of a config.

    Returns:
        A function of training progress (0 at the start, 1 after ``MAX_ITER`` steps) that returns
        the factor of ``BASE_LR``.

    Raises:
        ValueError: an unknown ``LR_SCHEDULER_NAME`` or ``WARMUP_METHOD``.
    """
    after = _after_warmup(solver)
    length = min(solver.WARMUP_ITERS / solver.MAX_ITER, 1.0)
    # if the warm-up lasts for all steps, no interval after it is left to rescale
    rescaled = solver.RESCALE_INTERVAL and length < 1
    start = solver.WARMUP_FACTOR * after(0.0)
    if solver.WARMUP_METHOD == "linear":
        end = after(0.0 if solver.RESCALE_INTERVAL else length)
        warmup: ParamScheduler = LinearParamScheduler(start, end)
    elif solver.WARMUP_METHOD == "constant":
        warmup = ConstantParamScheduler(start)
    else:
        raise ValueError(
            f"SOLVER.WARMUP_METHOD must be linear or constant, found {solver.WARMUP_METHOD!r}"
        )
    return CompositeParamScheduler(
        [warmup, after],
        lengths=[length, 1 - length],
        interval_scaling=["rescaled", "rescaled" if rescaled else "fixed"],
    )


def build_lr_scheduler(optimizer: torch.optim.Optimizer, solver: Any) -> LambdaLR:
    """Build a PyTorch scheduler from :func:`build_schedule`; step it after every optimizer step.

    After ``MAX_ITER`` steps the learning rate stays constant.

    Raises:
        ValueError: see :func:`build_schedule`.
    """
    schedule = build_schedule(solver)
    return LambdaLR(optimizer, lambda step: schedule(min(step / solver.MAX_ITER, 1.0)))


class ProgressScheduler(LambdaLR):
    """A ``LambdaLR`` that can also load the state of another scheduler.

    For example, a run on Detectron2 without a time budget has the state of ``LRMultiplier``, and
    can be resumed with a time budget.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({"lr_lambdas": [None] * len(self.lr_lambdas), **state_dict})


def build_progress_scheduler(
    optimizer: torch.optim.Optimizer, solver: Any, progress: Callable[[], float]
) -> ProgressScheduler:
    """Build a scheduler for a run whose number of steps is not known in advance; step it after
    every optimizer step.

    During the warm-up, the factor of the schedule is multiplied by a second one that grows from
    ``WARMUP_FACTOR`` to 1. The warm-up lasts ``WARMUP_ITERS`` steps, or until the progress is
    ``WARMUP_ITERS / MAX_ITER`` if that comes first, so it also ends in a run that makes few steps.
    The schedule follows the progress.

    Args:
        optimizer: the optimizer whose learning rates are set.
        solver: the ``SOLVER`` node of a config. ``STEPS`` are shares of ``MAX_ITER``.
        progress: returns the training progress, 0 at the start and 1 after the last step.

    Raises:
        ValueError: see :func:`build_schedule`.
    """
    after, warmup = _after_warmup(solver), _warmup(solver)
    length, total = solver.WARMUP_ITERS, solver.MAX_ITER

    def factor(step: int) -> float:
        where = min(progress(), 1.0)
        warmed_up = max(step, where * total) / length if length else 1.0
        rate: float = warmup(warmed_up) * after(where)
        return rate

    return ProgressScheduler(optimizer, factor)


def _warmup(solver: Any) -> Callable[[float], float]:
    """Return a function from the share of the warm-up, 1 at its end, to its factor of the rate."""
    start = solver.WARMUP_FACTOR
    if solver.WARMUP_METHOD == "constant":
        return lambda share: start if share < 1 else 1.0
    if solver.WARMUP_METHOD == "linear":
        return lambda share: start + (1 - start) * min(share, 1.0)
    raise ValueError(
        f"SOLVER.WARMUP_METHOD must be linear or constant, found {solver.WARMUP_METHOD!r}"
    )


def _after_warmup(solver: Any) -> ParamScheduler:
    if solver.LR_SCHEDULER_NAME == "WarmupMultiStepLR":
        steps = [step for step in solver.STEPS if step <= solver.MAX_ITER]
        values = [solver.GAMMA**k for k in range(len(steps) + 1)]
        return MultiStepParamScheduler(values, milestones=steps, num_updates=solver.MAX_ITER)
    if solver.LR_SCHEDULER_NAME == "WarmupCosineLR":
        return CosineParamScheduler(1.0, solver.BASE_LR_END / solver.BASE_LR)
    if solver.LR_SCHEDULER_NAME == "WarmupStepWithFixedGammaLR":
        return FixedGammaSteps(
            1.0, num_decays=solver.NUM_DECAYS, gamma=solver.GAMMA, num_updates=solver.MAX_ITER
        )
    raise ValueError(
        "SOLVER.LR_SCHEDULER_NAME must be WarmupMultiStepLR, WarmupCosineLR or "
        f"WarmupStepWithFixedGammaLR, found {solver.LR_SCHEDULER_NAME!r}"
    )
