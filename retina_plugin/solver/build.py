"""Optimizer, gradient clipping and learning rate from the ``SOLVER`` node, with Detectron2's
meaning of every key."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from fvcore.common.param_scheduler import (
    CompositeParamScheduler,
    ConstantParamScheduler,
    CosineParamScheduler,
    LinearParamScheduler,
    MultiStepParamScheduler,
    ParamScheduler,
)
from torch import nn

NORM_LAYERS = (
    nn.modules.batchnorm._BatchNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.modules.instancenorm._InstanceNorm,
)


def parameter_groups(model: nn.Module, solver: Any) -> list[dict[str, Any]]:
    """Parameters that learn, grouped by learning rate and weight decay: norms and biases may have
    their own."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    seen: set[nn.Parameter] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in seen:
                continue
            seen.add(parameter)
            lr, decay = solver.BASE_LR, solver.WEIGHT_DECAY
            if isinstance(module, NORM_LAYERS):
                decay = solver.WEIGHT_DECAY_NORM
            if name == "bias":
                lr *= solver.BIAS_LR_FACTOR
                decay = decay if solver.WEIGHT_DECAY_BIAS is None else solver.WEIGHT_DECAY_BIAS
            groups.setdefault((lr, decay), []).append(parameter)
    return [
        {"params": params, "lr": lr, "weight_decay": decay}
        for (lr, decay), params in groups.items()
    ]


def build_optimizer(model: nn.Module, cfg: Any) -> torch.optim.Optimizer:
    """SGD or AdamW, by ``MODEL.RETINA_PLUGIN.OPTIMIZER``.

    Raises:
        ValueError: another name.
    """
    solver, name = cfg.SOLVER, cfg.MODEL.RETINA_PLUGIN.OPTIMIZER
    groups = parameter_groups(model, solver)
    if name == "SGD":
        return torch.optim.SGD(
            groups, lr=solver.BASE_LR, momentum=solver.MOMENTUM, nesterov=solver.NESTEROV
        )
    if name == "AdamW":
        return torch.optim.AdamW(groups, lr=solver.BASE_LR)
    raise ValueError(f"MODEL.RETINA_PLUGIN.OPTIMIZER must be SGD or AdamW, found {name!r}")


def clip_gradients(parameters: Iterable[nn.Parameter], clipping: Any) -> None:
    """Clip the gradient of each parameter on its own, as Detectron2 does.

    Raises:
        ValueError: an unknown ``CLIP_TYPE``.
    """
    if clipping.CLIP_TYPE not in ("value", "norm"):
        raise ValueError(
            f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE must be value or norm, found {clipping.CLIP_TYPE!r}"
        )
    for parameter in (p for p in parameters if p.grad is not None):
        if clipping.CLIP_TYPE == "value":
            nn.utils.clip_grad_value_(parameter, clipping.CLIP_VALUE)
        else:
            nn.utils.clip_grad_norm_(parameter, clipping.CLIP_VALUE, clipping.NORM_TYPE)


def lr_multiplier(solver: Any) -> Callable[[int], float]:
    """Step -> factor of ``BASE_LR``: warm-up, then steps or a cosine.

    Raises:
        ValueError: an unknown scheduler or warm-up.
    """
    after = _after_warmup(solver)
    length = min(solver.WARMUP_ITERS / solver.MAX_ITER, 1.0)
    start = solver.WARMUP_FACTOR * after(0.0)
    if solver.WARMUP_METHOD == "linear":
        warmup: ParamScheduler = LinearParamScheduler(start, after(length))
    elif solver.WARMUP_METHOD == "constant":
        warmup = ConstantParamScheduler(start)
    else:
        raise ValueError(
            f"SOLVER.WARMUP_METHOD must be linear or constant, found {solver.WARMUP_METHOD!r}"
        )
    whole = CompositeParamScheduler(
        [warmup, after], lengths=[length, 1 - length], interval_scaling=["rescaled", "fixed"]
    )
    return lambda step: whole(min(step / solver.MAX_ITER, 1.0))


def _after_warmup(solver: Any) -> ParamScheduler:
    if solver.LR_SCHEDULER_NAME == "WarmupMultiStepLR":
        steps = [step for step in solver.STEPS if step <= solver.MAX_ITER]
        values = [solver.GAMMA**k for k in range(len(steps) + 1)]
        return MultiStepParamScheduler(values, milestones=steps, num_updates=solver.MAX_ITER)
    if solver.LR_SCHEDULER_NAME == "WarmupCosineLR":
        return CosineParamScheduler(1.0, solver.BASE_LR_END / solver.BASE_LR)
    raise ValueError(
        "SOLVER.LR_SCHEDULER_NAME must be WarmupMultiStepLR or WarmupCosineLR, found "
        f"{solver.LR_SCHEDULER_NAME!r}"
    )
