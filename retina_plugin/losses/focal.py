r"""Focal loss with its derivative written out (Lin et al., arXiv 1708.02002, section 3 and appendix B).

With p_t the probability given to what is true, the ladder from cross entropy is

    CE = -log p_t        balanced CE = -alpha_t log p_t        focal loss = -alpha_t (1 - p_t)^gamma log p_t

and, for a logit x with y = +1 for the true class and -1 for the others,

    d FL / d x = y alpha_t (1 - p_t)^gamma (gamma p_t log p_t + p_t - 1).

This derivative is bounded everywhere, whereas autograd of the formula is not: the derivative of (1 - p_t)^gamma alone is
gamma (1 - p_t)^(gamma - 1), infinite at p_t = 1 for gamma < 1, and infinity times zero is NaN.

Axes: R anchors, K classes, P positives.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Elements worked on at once on the CPU: a few such pieces of float32 stay in the cache.
CHUNK_ELEMENTS = 2**17

# Derivatives of easy negatives fall to subnormal numbers, which the CPU multiplies up to a hundred times slower in the whole
# backward pass. Anything below this is zero for every purpose.
NEGLIGIBLE = 1e-30


def sigmoid_focal_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: float | Tensor,
    gamma: float,
    reduction: str = "sum",
) -> Tensor:
    """Focal loss over K independent sigmoids for each anchor, finite in value and gradient for every ``gamma >= 0``.

    Args:
        logits: (R, K), any floating dtype; computed in float32 at least.
        labels: (R,) int64: a class in [0, K), K for background (all K logits are negatives), -1 for ignored (loss and gradient 0).
        alpha: weight of positives in [0, 1], negatives have ``1 - alpha``; a tensor (K,) gives each class its own; a negative number
            means no weighting at all. Paper: 0.25.
        gamma: focusing parameter, at least 0; 0 is (balanced) cross entropy. Paper: 2.
        reduction: "sum", "mean" (over R * K) or "none".

    Returns:
        A scalar, or (R, K) for "none". For R = 0 the sum is 0 and connected to ``logits``.

    Raises:
        ValueError: shapes that do not fit, a negative gamma, an unknown reduction.
    """
    _check(logits, labels, gamma, reduction)
    loss = _FocalLoss.apply(logits, labels, *_class_weights(logits, alpha), float(gamma), reduction == "none")
    return loss / max(logits.numel(), 1) if reduction == "mean" else loss


def _check(logits: Tensor, labels: Tensor, gamma: float, reduction: str) -> None:
    if logits.dim() != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"expected logits (R, K) and labels (R,), found {tuple(logits.shape)} and {tuple(labels.shape)}"
        )
    if not gamma >= 0:
        raise ValueError(f"gamma must be at least 0, found {gamma}")
    if reduction not in ("sum", "mean", "none"):
        raise ValueError(f"reduction must be 'sum', 'mean' or 'none', found {reduction!r}")


def _class_weights(logits: Tensor, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
    """Weights of positives and of negatives, each (K,), in the dtype of the computation."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    alpha = torch.as_tensor(alpha, dtype=dtype, device=logits.device)
    if alpha.dim() == 0 and alpha < 0:
        return (torch.ones(logits.shape[1], dtype=dtype, device=logits.device),) * 2
    if alpha.dim() and alpha.shape != logits.shape[1:]:
        raise ValueError(
            f"alpha must be a number or have one entry for each of {logits.shape[1]} classes, found {tuple(alpha.shape)}"
        )
    positive = alpha.expand(logits.shape[1]).contiguous()
    return positive, 1 - positive


def negative_terms(logits: Tensor, weights: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """Loss and derivative by the logit where the class is absent, p_t = 1 - sigmoid(logit)."""
    p = logits.sigmoid()
    cross_entropy = F.softplus(logits)  # -log(1 - p)
    modulator = weights * _power(p, gamma)
    gradient = torch.addcmul(p, 1 - p, cross_entropy, value=gamma).mul_(modulator)
    return cross_entropy.mul_(modulator), gradient


def positive_terms(logits: Tensor, weights: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """Loss and derivative by the logit where the class is present: the mirror image of :func:`negative_terms`."""
    loss, gradient = negative_terms(-logits, weights, gamma)
    return loss, -gradient


def _power(p: Tensor, gamma: float) -> Tensor:
    return p * p if gamma == 2 else p.pow(gamma)


class _FocalLoss(torch.autograd.Function):
    """Value and derivative in one pass; the derivative, one tensor of the logits' size, is all that is kept for backward."""

    @staticmethod
    def forward(ctx, logits, labels, positive, negative, gamma, elementwise):
        rows = ((labels >= 0) & (labels < logits.shape[1])).nonzero()[:, 0]
        classes = labels[rows]
        work = positive.dtype
        pos_loss, pos_gradient = positive_terms(logits[rows, classes].to(work), positive[classes], gamma)
        gradient = torch.empty_like(logits)
        values = logits.new_empty(logits.shape if elementwise else logits.shape[:1], dtype=work)
        for part, first, last in _chunks(logits, rows):
            loss, derivative = negative_terms(logits[part].to(work), negative, gamma)
            here = (rows[first:last] - part.start, classes[first:last])
            loss[here], derivative[here] = pos_loss[first:last], pos_gradient[first:last]
            derivative.masked_fill_(derivative.abs() < NEGLIGIBLE, 0)
            gradient[part] = derivative
            values[part] = loss if elementwise else loss.sum(dim=1)
        ignored = (labels < 0).nonzero()[:, 0]
        gradient[ignored], values[ignored] = 0, 0
        ctx.save_for_backward(gradient)
        return values if elementwise else values.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        (gradient,) = ctx.saved_tensors
        return gradient * grad_output.to(gradient.dtype), None, None, None, None, None


def _chunks(logits: Tensor, rows: Tensor) -> list[tuple[slice, int, int]]:
    """Pieces of the rows of ``logits``, each with the range of positives that lie in it. One piece on an accelerator, whose
    kernels gain nothing from small pieces."""
    total = len(logits)
    step = max(1, CHUNK_ELEMENTS // max(logits.shape[1], 1)) if logits.device.type == "cpu" else max(total, 1)
    starts = list(range(0, total, step))
    if len(starts) == 1:
        return [(slice(0, total), 0, len(rows))]
    bounds = torch.searchsorted(rows, torch.tensor([*starts, total], device=rows.device)).tolist()
    return [
        (slice(start, min(start + step, total)), first, last)
        for start, first, last in zip(starts, bounds[:-1], bounds[1:], strict=True)
    ]
