"""Class losses over K independent sigmoids: loss and derivative are computed in one pass.

The loss of one sigmoid comes from :mod:`retina_plugin.losses.terms` or, with soft targets, from
:mod:`retina_plugin.losses.soft_terms`. This module adds integer labels (without one-hot targets),
ignored anchors, class weights, half precision, and a backward pass that only scales the derivative
from the forward pass.

Axes: R anchors, K classes.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from retina_plugin.layers import tracing
from retina_plugin.losses.chunked import chunked_loss
from retina_plugin.losses.soft_terms import SoftTerms
from retina_plugin.losses.terms import Terms
from retina_plugin.losses.traced import traced_loss

NO_WEIGHTS = -1.0  # a value of alpha: positives and negatives are not weighted


def sigmoid_loss(
    terms: Terms | SoftTerms,
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: float | Tensor,
    gamma: float,
    reduction: str,
    quality: Tensor | None = None,
) -> Tensor:
    """Compute a class loss from the loss of one sigmoid.

    ``torch.compile`` works, also with ``fullgraph=True``; ``torch.func`` is not supported.

    Args:
        terms: the loss of one sigmoid, see :mod:`retina_plugin.losses.terms` and
            :mod:`retina_plugin.losses.soft_terms`.
        logits, labels, alpha, reduction: see :func:`retina_plugin.losses.sigmoid_focal_loss`.
        gamma: passed to ``terms``; at least 0.
        quality: (R,) in 0..1, the soft targets of the positives; other rows may have any value.
            Positives with quality 0 are background. None for 1. For :class:`SoftTerms` only.

    Returns:
        See :func:`retina_plugin.losses.sigmoid_focal_loss`.

    Raises:
        ValueError: see :func:`retina_plugin.losses.sigmoid_focal_loss`; also if labels are not
            int64, or a quality is outside 0..1.
    """
    _check(logits, labels, gamma, reduction)
    if quality is not None:
        _check_quality(quality, labels, logits.shape[1])
        quality = quality.to(_work_dtype(logits))
        background = (labels >= 0) & (quality <= 0)
        labels = torch.where(background, logits.shape[1], labels)
    function = traced_loss if tracing.is_traced(logits) else _SigmoidLoss.apply
    positive, negative = _class_weights(logits, alpha)
    if isinstance(terms, SoftTerms) and terms.target_is_weight:
        positive = torch.ones_like(positive)
    loss: Tensor = function(
        logits, labels, quality, positive, negative, terms, float(gamma), reduction == "none"
    )
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


def _check_quality(quality: Tensor, labels: Tensor, num_classes: int) -> None:
    if quality.shape != labels.shape or not quality.is_floating_point():
        raise ValueError(
            f"expected a floating point quality (R,) = {tuple(labels.shape)}, found "
            f"{tuple(quality.shape)} {quality.dtype}"
        )
    if tracing.needs_fixed_shapes(quality):
        return
    targets = quality[(labels >= 0) & (labels < num_classes)]
    if not ((targets >= 0) & (targets <= 1)).all():
        raise ValueError(
            "the quality of positives must lie in 0..1, found "
            f"{targets.min().item()} to {targets.max().item()}"
        )


def _class_weights(logits: Tensor, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights of positives and negatives, (K,) each, in the dtype of the computation."""
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
    weights = (1.0, 1.0) if alpha < 0 else (float(alpha), 1 - float(alpha))
    positive, negative = (
        logits.new_full((), weight, dtype=_work_dtype(logits)).expand(logits.shape[1])
        for weight in weights
    )
    return positive, negative


def _work_dtype(logits: Tensor) -> torch.dtype:
    return torch.promote_types(logits.dtype, torch.float32)


class _SigmoidLoss(torch.autograd.Function):
    """The loss as an autograd function, which stores only the derivative for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        labels: Tensor,
        quality: Tensor | None,
        positive: Tensor,
        negative: Tensor,
        terms: Terms | SoftTerms,
        gamma: float,
        elementwise: bool,
    ) -> Tensor:
        soft = {} if quality is None else {"quality": quality}
        values, derivative = _implementation(terms, logits)(
            terms,
            logits,
            labels,
            positive=positive,
            negative=negative,
            gamma=gamma,
            elementwise=elementwise,
            **soft,
        )
        ctx.save_for_backward(derivative)
        ctx.dtype = logits.dtype
        return values if elementwise else values.sum()

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # without this, second derivatives would silently be 0
            raise RuntimeError(
                "class losses have no second derivative: call backward() or grad() without "
                "create_graph=True"
            )
        (derivative,) = ctx.saved_tensors
        return _scaled(derivative, grad_output).to(ctx.dtype), *[None] * 7


def _implementation(
    terms: Terms | SoftTerms, logits: Tensor
) -> Callable[..., tuple[Tensor, Tensor]]:
    """Return the fastest function for these logits, with the interface of ``chunked_loss``."""
    if isinstance(terms, SoftTerms):
        return chunked_loss
    if logits.is_cuda and importlib.util.find_spec("triton"):
        from retina_plugin.losses import triton_focal

        if triton_focal.can_run(terms, logits):
            return triton_focal.triton_loss
    return chunked_loss


def _scaled(derivative: Tensor, factor: Tensor) -> Tensor:
    """Return ``derivative * factor``, computed in place to save memory.

    Usually the graph is freed after one backward pass, and the derivative is not needed again.
    ``retain_graph=True`` allows further passes. For these, the first factor is stored on the
    tensor, and later passes divide by it.
    """
    if factor.dim():
        return derivative * factor
    first: Tensor | None = getattr(derivative, "scaled_by", None)
    if first is None:
        derivative.scaled_by = factor  # type: ignore[attr-defined]  # an attribute added here
        # .data, because autograd forbids in-place changes of a saved tensor
        derivative.data.mul_(factor)
        return derivative
    if first.abs() < torch.finfo(first.dtype).tiny or not first.isfinite():
        raise RuntimeError(
            f"backward() of this class loss cannot be repeated, because its first call had the "
            f"gradient {float(first)}: compute the loss again"
        )
    return derivative * (factor / first)
