"""Distribution focal loss (arXiv 2006.04388, equation 6): a distance as a distribution over bins.

A distance d in 0..B is predicted as B + 1 logits, one for each whole number. Let S be their
softmax. The target gives weights to the two bins around d so that the mean of the target is d. The
loss is the cross entropy of S with the target:

    DFL = -(j + 1 - d) log S_j - (d - j) log S_(j + 1),   j <= d <= j + 1.

Its derivative with respect to the logits is S minus the weights of the bins.

Axes: P positives, S sides, B + 1 bins.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from retina_plugin.layers import tracing


def distribution_focal_loss(logits: Tensor, distances: Tensor) -> Tensor:
    """Compute the distribution focal loss, averaged over the sides of each box.

    Args:
        logits: (P, S, B + 1); computed in float32 or float64. P may be 0.
        distances: (P, S), clamped to 0..B.

    Returns:
        (P,) losses. One tensor of the size of the logits is kept for the backward pass.

    Raises:
        ValueError: if shapes do not match, or there is only one bin.
        RuntimeError: in the backward pass, if it is called with ``create_graph=True``.
    """
    if logits.shape[:-1] != distances.shape or logits.dim() != 3 or logits.shape[-1] < 2:
        raise ValueError(
            "expected logits (P, S, B + 1) with B of at least 1 and distances (P, S), found "
            f"{tuple(logits.shape)} and {tuple(distances.shape)}"
        )
    work = logits.to(torch.promote_types(logits.dtype, torch.float32))
    target = two_bins(distances.to(work.dtype), logits.shape[-1])
    if tracing.is_traced(logits):  # exporters drop the backward pass of an autograd function
        losses = -(target * work.log_softmax(dim=-1)).sum(dim=-1)
    else:
        losses = _DistributionLoss.apply(work, target)
    return losses.mean(dim=-1)


def two_bins(distances: Tensor, num_bins: int) -> Tensor:
    """Return the weights of the two bins around each distance: (...) -> (..., ``num_bins``).

    The weights of the other bins are 0. The sum is 1, and the mean is the distance, clamped to
    0..``num_bins`` - 1.
    """
    bins = torch.arange(num_bins, dtype=distances.dtype, device=distances.device)
    distances = distances.clamp(min=0, max=num_bins - 1)
    return (1 - (distances[..., None] - bins).abs()).clamp(min=0)


class _DistributionLoss(torch.autograd.Function):
    """The losses (P, S) as an autograd function that keeps only the derivative."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor) -> Tensor:
        log_scores = logits.log_softmax(dim=-1)
        ctx.save_for_backward(log_scores.exp().sub_(target))
        return -(target * log_scores).sum(dim=-1)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        if torch.is_grad_enabled():  # without this, second derivatives would silently be 0
            raise RuntimeError(
                "distribution focal loss has no second derivative: call backward() or grad() "
                "without create_graph=True"
            )
        (derivative,) = ctx.saved_tensors
        return derivative * grad_output[..., None], None
