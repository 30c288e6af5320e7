"""Losses and derivatives of all sigmoids with PyTorch's own operations, in pieces that stay in the
cache.

Axes: R anchors, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from retina_plugin.layers.threads import run_in_threads
from retina_plugin.losses.terms import Terms

# Elements worked on at once. On the CPU a few such pieces of float32 stay in the cache; an
# accelerator needs large ones.
CHUNK_ELEMENTS = {"cpu": 2**17, "other": 2**22}

# Derivatives of easy negatives fall to subnormal numbers, which the CPU multiplies up to a hundred
# times slower in the whole backward pass. Anything below this is zero for every purpose.
NEGLIGIBLE = 1e-30


def stored_dtype(logits: Tensor) -> torch.dtype:
    """Of the derivative: that of the logits, but float32 for float16, in which derivatives of easy
    anchors would be subnormal."""
    return torch.float32 if logits.dtype == torch.float16 else logits.dtype


def chunked_loss(
    terms: Terms,
    logits: Tensor,
    labels: Tensor,
    *,
    positive: Tensor,
    negative: Tensor,
    gamma: float,
    elementwise: bool,
) -> tuple[Tensor, Tensor]:
    """Losses, (R, K) when ``elementwise`` and else their sums (R,), and derivatives (R, K).

    In every piece all logits are taken as negatives first; then its few positives and ignored
    anchors are put right.
    """
    derivatives = torch.empty_like(logits, dtype=stored_dtype(logits))
    values = negative.new_empty(logits.shape if elementwise else logits.shape[:1])

    def one_piece(part: slice) -> None:
        z, label, derivative = logits[part].to(negative.dtype), labels[part], derivatives[part]
        loss, slope = terms(z, gamma)
        torch.mul(torch.hardshrink(slope, NEGLIGIBLE), negative, out=derivative)
        loss = loss * negative
        special = (label != logits.shape[1]).nonzero()[:, 0]
        if len(special):
            rows = special[(label[special] >= 0) & (label[special] < logits.shape[1])]
            here = rows, label[rows]
            right, slope = terms(-z[here], gamma)
            loss[here] = right * positive[here[1]]
            derivative[here] = (torch.hardshrink(slope, NEGLIGIBLE) * -positive[here[1]]).to(
                derivative.dtype
            )
            ignored = special[label[special] < 0]
            loss[ignored], derivative[ignored] = 0, 0
        values[part].copy_(loss) if elementwise else torch.sum(loss, dim=1, out=values[part])

    _warm_up_log1p()
    cpu = logits.device.type == "cpu"
    step = max(1, CHUNK_ELEMENTS["cpu" if cpu else "other"] // max(logits.shape[1], 1))
    pieces = [slice(start, start + step) for start in range(0, len(logits), step)]
    run_in_threads(one_piece, pieces, threads=None if cpu else 1)
    return values, derivatives


def _warm_up_log1p() -> None:
    """On CPUs with AVX-512 log1p reads a constant by a masked load that needs it for -0.0 only. As
    long as the page of that constant has never been needed, every such load ends in a microcode
    assist, and log1p and softplus take ten times as long."""
    torch.full((16,), -0.0, dtype=torch.float32, device="cpu").log1p_()
