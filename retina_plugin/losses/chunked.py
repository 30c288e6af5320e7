"""The class loss and its derivative by PyTorch operations, on chunks that fit into the CPU's cache.

Axes: R anchors, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from retina_plugin.layers import tracing
from retina_plugin.layers.threads import run_in_threads
from retina_plugin.losses.soft_terms import SoftTerms, negative_terms, positive_values
from retina_plugin.losses.terms import Terms

# Elements of a chunk. On a CPU, a few float32 tensors of this size fit into the cache; an
# accelerator needs larger tensors.
CHUNK_ELEMENTS = {"cpu": 2**17, "other": 2**22}

# Derivatives below this number are set to 0. The derivatives of easy negatives can be subnormal
# numbers, which make the whole backward pass on a CPU up to a hundred times slower.
NEGLIGIBLE = 1e-30


def stored_dtype(logits: Tensor) -> torch.dtype:
    """Return the dtype of the stored derivative: that of the logits, but float32 for float16.

    In float16 the derivatives of easy negatives would be subnormal.
    """
    return torch.float32 if logits.dtype == torch.float16 else logits.dtype


def chunked_loss(
    terms: Terms | SoftTerms,
    logits: Tensor,
    labels: Tensor,
    *,
    quality: Tensor | None = None,
    positive: Tensor,
    negative: Tensor,
    gamma: float,
    elementwise: bool,
) -> tuple[Tensor, Tensor]:
    """Compute the losses and their derivatives with respect to the logits.

    In each chunk, all logits are first treated as negatives; then the values of the few positives
    and ignored anchors are replaced. On an accelerator, losses with soft targets are computed by
    :func:`dense_values` instead, so the CPU need not wait for the positions of the positives.

    Args:
        terms, quality, gamma: see :func:`retina_plugin.losses.sigmoid_loss`.
        logits, labels: see :func:`retina_plugin.losses.sigmoid_focal_loss`.
        positive, negative: (K,) weights in the dtype of the computation.
        elementwise: whether to return the losses (R, K) instead of their sums (R,).

    Returns:
        The losses and the derivatives (R, K).
    """
    derivatives = torch.empty_like(logits, dtype=stored_dtype(logits))
    values = negative.new_empty(logits.shape if elementwise else logits.shape[:1])
    dense = isinstance(terms, SoftTerms) and tracing.needs_fixed_shapes(logits)

    def compute_chunk(part: slice) -> None:
        z, label, derivative = logits[part].to(negative.dtype), labels[part], derivatives[part]
        target = None if quality is None else quality[part]
        if dense:
            loss, slope = dense_values(terms, z, label, target, positive, negative, gamma)
            derivative.copy_(slope)
            values[part].copy_(loss) if elementwise else torch.sum(loss, dim=1, out=values[part])
            return
        loss, slope = negative_terms(terms)(z, gamma)
        torch.mul(torch.hardshrink(slope, NEGLIGIBLE), negative, out=derivative)
        loss = loss * negative
        special = (label != logits.shape[1]).nonzero()[:, 0]
        if len(special):
            rows = special[(label[special] >= 0) & (label[special] < logits.shape[1])]
            index = rows, label[rows]
            target = None if target is None else target[rows]
            positive_loss, slope = positive_values(terms, z[index], target, gamma)
            loss[index] = positive_loss * positive[index[1]]
            derivative[index] = (torch.hardshrink(slope, NEGLIGIBLE) * positive[index[1]]).to(
                derivative.dtype
            )
            ignored = special[label[special] < 0]
            loss[ignored], derivative[ignored] = 0, 0
        values[part].copy_(loss) if elementwise else torch.sum(loss, dim=1, out=values[part])

    _warm_up_log1p()
    cpu = logits.device.type == "cpu"
    step = max(1, CHUNK_ELEMENTS["cpu" if cpu else "other"] // max(logits.shape[1], 1))
    chunks = [slice(start, start + step) for start in range(0, len(logits), step)]
    run_in_threads(compute_chunk, chunks, threads=None if cpu else 1)
    return values, derivatives


def dense_values(
    terms: Terms | SoftTerms,
    logits: Tensor,
    labels: Tensor,
    quality: Tensor | None,
    positive: Tensor,
    negative: Tensor,
    gamma: float,
) -> tuple[Tensor, Tensor]:
    """Compute the weighted losses and their derivatives, (R, K) each, with fixed shapes.

    Args:
        logits: (R, K) in the dtype of the computation.
        terms, labels, quality, positive, negative, gamma: see :func:`chunked_loss`.
    """
    used = labels[:, None] >= 0
    present = labels[:, None] == torch.arange(logits.shape[1], device=labels.device)
    weight = torch.where(present, positive, negative).where(used, 0)
    logits = logits.where(used, 0)  # those of ignored anchors may be infinite
    if isinstance(terms, SoftTerms):
        target = None if quality is None else quality[:, None].expand_as(logits)
        loss, slope = (
            torch.where(present, *pair)
            for pair in zip(
                positive_values(terms, logits, target, gamma),
                terms.negative(logits, gamma),
                strict=True,
            )
        )
    else:
        loss, slope = terms(torch.where(present, -logits, logits), gamma)
        slope = torch.where(present, -slope, slope)
    return loss * weight, torch.hardshrink(slope, NEGLIGIBLE) * weight


def _warm_up_log1p() -> None:
    """Make log1p and softplus ten times faster on CPUs with AVX-512, in the whole process.

    On these CPUs, log1p reads a constant by a masked load, and only an input of -0.0 unmasks it.
    Until the memory page of the constant has been read once, each masked load is slow (a microcode
    assist).
    """
    torch.full((16,), -0.0, dtype=torch.float32, device="cpu").log1p_()
