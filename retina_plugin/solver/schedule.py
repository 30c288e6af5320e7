"""Learning rate over the steps of a training: warm-up, then steps or a cosine."""

from __future__ import annotations

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


class FixedGammaSteps(StepWithFixedGammaParamScheduler):
    """fvcore's fails at the end of training, and a scheduler is asked for it after the last
    step."""

    def __call__(self, where: float) -> float:
        return super().__call__(min(where, 1 - 2 * self.WHERE_EPSILON))


def build_schedule(solver: Any) -> ParamScheduler:
    """Share of the training that is done, 0..1 -> factor of ``BASE_LR``.

    Args:
        solver: the ``SOLVER`` node of a config.

    Raises:
        ValueError: an unknown scheduler or warm-up.
    """
    after = _after_warmup(solver)
    length = min(solver.WARMUP_ITERS / solver.MAX_ITER, 1.0)
    # a warm-up to the end leaves no interval to be rescaled
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
    """:func:`build_schedule` as a scheduler of PyTorch, to be stepped after every step of the
    optimizer; beyond ``MAX_ITER`` the learning rate stays.

    Raises:
        ValueError: see :func:`build_schedule`.
    """
    schedule = build_schedule(solver)
    return LambdaLR(optimizer, lambda step: schedule(min(step / solver.MAX_ITER, 1.0)))


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
