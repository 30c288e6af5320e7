"""Every loss over K independent sigmoids in one pass: value and derivative together, for integer
labels.

A step of the ladder says what one sigmoid costs; everything else is done here, once for all steps:
no one-hot targets, ignored anchors, a weight for each class, half precision, and a backward pass
that only scales a derivative which is there already.

Axes: R anchors, K classes.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import torch
from torch import Tensor

from retina_plugin.layers import tracing
from retina_plugin.losses.chunked import chunked_loss
from retina_plugin.losses.terms import Terms
from retina_plugin.losses.traced import traced_loss

NO_WEIGHTS = -1.0  # as alpha: neither positives nor negatives are weighted


def sigmoid_loss(
    terms: Terms,
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: float | Tensor,
    gamma: float,
    reduction: str,
) -> Tensor:
    """A class loss from its terms.

    ``torch.compile``, also with ``fullgraph=True``, and fake tensors see plain operations, see
    :mod:`retina_plugin.losses.traced`; ``torch.func`` is not supported.

    Args:
        terms: what one sigmoid costs, see :mod:`retina_plugin.losses.terms`.
        logits, labels, alpha, reduction: see :func:`retina_plugin.losses.sigmoid_focal_loss`.
        gamma: handed to ``terms``; at least 0.

    Returns:
        A scalar, or (R, K) for "none". For R = 0 the sum is 0 and connected to ``logits``.

    Raises:
        ValueError: shapes or types that do not fit, an alpha above 1 or, for a class, below 0, a
            negative gamma, an unknown reduction.
        RuntimeError: by the backward pass, when a second derivative is asked for
            (``create_graph=True``).
    """
    _check(logits, labels, gamma, reduction)
    way = traced_loss if tracing.is_traced(logits) else _SigmoidLoss.apply
    weights = _class_weights(logits, alpha)
    loss = way(logits, labels, *weights, terms, float(gamma), reduction == "none")
    return loss / max(logits.numel(), 1) if reduction == "mean" else loss


def _check(logits: Tensor, labels: Tensor, gamma: float, reduction: str) -> None:
    if logits.dim() != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"expected logits (R, K) and labels (R,), found {tuple(logits.shape)} and "
            f"{tuple(labels.shape)}"
        )
    if labels.dtype != torch.int64:
        raise ValueError(f"labels must be int64, found {labels.dtype}; use labels.long()")
    if not gamma >= 0:
        raise ValueError(f"gamma must be at least 0, found {gamma}")
    if reduction not in ("sum", "mean", "none"):
        raise ValueError(f"reduction must be 'sum', 'mean' or 'none', found {reduction!r}")


def _class_weights(logits: Tensor, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
    """Weights of positives and of negatives, each (K,), in the dtype of the computation."""
    if isinstance(alpha, Tensor) and alpha.dim():
        if alpha.shape != logits.shape[1:]:
            raise ValueError(
                f"alpha must be a number or have one entry for each of {logits.shape[1]} classes, "
                f"found {tuple(alpha.shape)}"
            )
        if not tracing.needs_fixed_shapes(alpha) and not ((alpha >= 0) & (alpha <= 1)).all():
            raise ValueError(f"alpha of each class must lie in [0, 1], found {alpha.tolist()}")
        positive = alpha.to(logits.device, _work_dtype(logits))
        return positive, 1 - positive
    if alpha > 1:
        raise ValueError(
            "alpha is the weight of positives, at most 1 (negatives have 1 - alpha), found "
            f"{float(alpha)}"
        )
    sides = (1.0, 1.0) if alpha < 0 else (float(alpha), 1 - float(alpha))
    return tuple(
        logits.new_full((), side, dtype=_work_dtype(logits)).expand(logits.shape[1])
        for side in sides
    )


def _work_dtype(logits: Tensor) -> torch.dtype:
    return torch.promote_types(logits.dtype, torch.float32)


class _SigmoidLoss(torch.autograd.Function):
    """The derivative, one tensor of the logits' size, is all that is kept for backward."""

    @staticmethod
    def forward(ctx, logits, labels, positive, negative, terms, gamma, elementwise):
        values, derivative = _pass_for(terms, logits)(
            terms,
            logits,
            labels,
            positive=positive,
            negative=negative,
            gamma=gamma,
            elementwise=elementwise,
        )
        ctx.save_for_backward(derivative)
        ctx.dtype = logits.dtype
        return values if elementwise else values.sum()

    @staticmethod
    def backward(ctx, grad_output):
        if torch.is_grad_enabled():  # without this, second derivatives would silently be 0
            raise RuntimeError(
                "class losses have no second derivative: call backward() or grad() without "
                "create_graph=True"
            )
        (derivative,) = ctx.saved_tensors
        return _scaled(derivative, grad_output).to(ctx.dtype), None, None, None, None, None, None


def _pass_for(terms: Terms, logits: Tensor) -> Callable[..., tuple[Tensor, Tensor]]:
    """The fastest way there is here from logits to losses and derivatives; all have the arguments
    and results of ``chunked_loss``."""
    if logits.is_cuda and importlib.util.find_spec("triton"):
        from retina_plugin.losses import triton_focal

        if triton_focal.can_run(terms, logits):
            return triton_focal.triton_loss
    return chunked_loss


def _scaled(derivative: Tensor, factor: Tensor) -> Tensor:
    """``derivative * factor``, in place where that can be, so that backward needs no second tensor
    of the logits' size.

    It can be the first time, as a backward pass frees the derivative afterwards. Of a graph that is
    kept (``retain_graph=True``) the later passes undo the first factor, which is remembered on the
    tensor that it has changed.
    """
    if factor.dim():
        return derivative * factor
    first = getattr(derivative, "scaled_by", None)
    if first is None:
        derivative.scaled_by = factor
        # .data: for autograd this is not the misuse of a saved tensor that it looks like
        derivative.data.mul_(factor)
        return derivative
    if first.abs() < torch.finfo(first.dtype).tiny or not first.isfinite():
        raise RuntimeError(
            f"backward() through this class loss was called with {float(first)} first, from which "
            "it cannot be repeated: "
            "compute the loss again"
        )
    return derivative * (factor / first)
