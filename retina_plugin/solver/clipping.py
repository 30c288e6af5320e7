"""Clip gradients as ``SOLVER.CLIP_GRADIENTS`` says."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def clip_gradients(optimizer: torch.optim.Optimizer, clipping: Any) -> None:
    """Clip the gradient of each parameter separately, as Detectron2 does.

    Parameters without a gradient are skipped.

    Args:
        optimizer: the optimizer whose parameters are clipped, after the backward pass.
        clipping: the ``SOLVER.CLIP_GRADIENTS`` node; nothing is done unless it is ``ENABLED``.

    Raises:
        ValueError: ``CLIP_TYPE`` is neither "value" nor "norm".
    """
    if not clipping.ENABLED:
        return
    if clipping.CLIP_TYPE not in ("value", "norm"):
        raise ValueError(
            f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE must be value or norm, found {clipping.CLIP_TYPE!r}"
        )
    for parameter in (p for group in optimizer.param_groups for p in group["params"]):
        if parameter.grad is None:
            continue
        if clipping.CLIP_TYPE == "value":
            nn.utils.clip_grad_value_(parameter, clipping.CLIP_VALUE)
        else:
            nn.utils.clip_grad_norm_(parameter, clipping.CLIP_VALUE, clipping.NORM_TYPE)


def clip_before_steps(optimizer: torch.optim.Optimizer, clipping: Any) -> None:
    """Clip at the start of each ``optimizer.step()``; see :func:`clip_gradients`.

    Do not use it with ``optimizer.step(closure)``: the closure computes the gradients after the
    clipping.
    """
    optimizer.register_step_pre_hook(lambda stepping, *_: clip_gradients(stepping, clipping))
