"""Compute the class loss and its derivative in one Triton kernel, which reads the logits once.

This module is imported only for CUDA tensors and only if Triton is installed. Otherwise
:mod:`retina_plugin.losses.chunked` computes the same losses.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable

import torch
import triton
import triton.language as tl
from torch import Tensor

from retina_plugin.losses.chunked import NEGLIGIBLE, stored_dtype
from retina_plugin.losses.terms import Terms, cross_entropy_terms, focal_star_terms, focal_terms

BLOCK = 1024  # elements of one program

# The kernel computes focal loss with the exponent ``power`` at the logit slope * z - shift, divided
# by ``slope``. Each entry maps gamma to (slope, shift, power).
VARIANTS: dict[Terms, Callable[[float], tuple[float, float, float]]] = {
    cross_entropy_terms: lambda gamma: (1.0, 0.0, 0.0),
    focal_terms: lambda gamma: (1.0, 0.0, gamma),
    focal_star_terms: lambda gamma: (gamma, 1.0, 0.0),
}


def can_run(terms: Terms, logits: Tensor) -> bool:
    """Return whether :func:`triton_loss` supports the terms and the dtype, and Triton works on the
    device. Each device is tried once."""
    known = terms in VARIANTS and logits.dtype in (torch.float32, torch.float16, torch.bfloat16)
    return known and _works(logits.device)


@functools.cache
def _works(device: torch.device) -> bool:
    """Return whether the kernel can be compiled and run. Warn with the reason if it cannot."""
    logits, weights = torch.zeros(1, 1, device=device), torch.ones(1, device=device)
    labels = torch.zeros(1, dtype=torch.int64, device=device)
    try:
        triton_loss(
            focal_terms,
            logits,
            labels,
            positive=weights,
            negative=weights,
            gamma=2.0,
            elementwise=False,
        )
    except Exception as error:  # Triton fails in many ways, often for lack of a C compiler
        reason = (str(error) or type(error).__name__).splitlines()[0]
        warnings.warn(
            f"Triton does not work on {device}, losses are computed by PyTorch: {reason}",
            stacklevel=2,
        )
        return False
    return True


def triton_loss(
    terms: Terms,
    logits: Tensor,
    labels: Tensor,
    *,
    positive: Tensor,
    negative: Tensor,
    gamma: float,
    elementwise: bool,
) -> tuple[Tensor, Tensor]:
    """Compute the same as :func:`retina_plugin.losses.chunked.chunked_loss`, with one difference.

    Unless ``elementwise`` is set, losses are summed over blocks of :data:`BLOCK` elements, not over
    rows.
    """
    logits, blocks = logits.contiguous(), triton.cdiv(logits.numel(), BLOCK)
    derivatives = torch.empty_like(logits, dtype=stored_dtype(logits))
    values = negative.new_empty(logits.shape if elementwise else (blocks,))
    slope, shift, power = VARIANTS[terms](gamma)
    if blocks:
        with torch.cuda.device_of(logits):  # type: ignore[no-untyped-call]  # in torch
            _kernel[(blocks,)](
                *(
                    logits,
                    labels.contiguous(),
                    positive.contiguous(),
                    negative.contiguous(),
                    values,
                    derivatives,
                ),
                *(logits.numel(), slope, shift, power, 1 / slope),
                NUM_CLASSES=logits.shape[1],
                SQUARE=power == 2,
                ELEMENTWISE=elementwise,
                NEGLIGIBLE=NEGLIGIBLE,
                BLOCK=BLOCK,
            )
    return values, derivatives


# Functions for Triton have no annotations, because Triton evaluates them.
@triton.jit  # type: ignore[misc, untyped-decorator]
def _log1p_ratio(e):  # type: ignore[no-untyped-def]
    """Compute log(1 + e) / e for e in [0, 1] with an error of 2e-7, by Chebyshev interpolation.

    tl.log(1 + e) would lose the digits of a small e.
    """
    ratio = -0.00317605705 * e + 0.0195425274
    ratio = (ratio * e - 0.0563736132) * e + 0.105436238
    ratio = (ratio * e - 0.152696671) * e + 0.196632743
    ratio = (ratio * e - 0.249516163) * e + 0.333297105
    return (ratio * e - 0.499998926) * e + 1.0


@triton.jit  # type: ignore[misc, untyped-decorator]
def _kernel(  # type: ignore[no-untyped-def]
    logits,
    labels,
    positive,
    negative,
    values,
    derivatives,
    total,
    slope,
    shift,
    power,
    scale,
    NUM_CLASSES: tl.constexpr,
    SQUARE: tl.constexpr,
    ELEMENTWISE: tl.constexpr,
    NEGLIGIBLE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    start = tl.program_id(0).to(tl.int64) * BLOCK
    lane = tl.arange(0, BLOCK)
    place = start + lane
    inside = place < total
    # columns count from the first row of the block, so that 32 bits are enough
    column = (start % NUM_CLASSES).to(tl.int32) + lane
    row = start // NUM_CLASSES + column // NUM_CLASSES
    column = column % NUM_CLASSES
    label = tl.load(labels + row, mask=inside, other=-1)
    present = column == label
    x = tl.load(logits + place, mask=inside, other=0.0).to(tl.float32)

    z = tl.where(present, -x, x) * slope - shift
    small = tl.exp(-tl.abs(z))  # in (0, 1]
    log1p = small * _log1p_ratio(small)
    cross_entropy = tl.maximum(z, 0.0) + log1p
    sigmoid_abs = 1 / (1 + small)  # sigmoid(|z|)
    sigmoid_minus_abs = small * sigmoid_abs  # sigmoid(-|z|)
    wrong = tl.where(z > 0, sigmoid_abs, sigmoid_minus_abs)
    right = tl.where(z > 0, sigmoid_minus_abs, sigmoid_abs)
    # at least -1e30: a power of 0 times -inf would be NaN
    log_wrong = tl.maximum(tl.minimum(z, 0.0) - log1p, -1e30)
    modulator = wrong * wrong if SQUARE else tl.exp(power * log_wrong)
    modulator *= tl.load(
        tl.where(present, positive + column, negative + column), mask=inside, other=0.0
    )
    derivative = modulator * (wrong + power * right * cross_entropy)
    keep = (label >= 0) & ((derivative > NEGLIGIBLE) | (derivative != derivative))
    derivative = tl.where(keep, tl.where(present, -derivative, derivative), 0.0)
    loss = tl.where(label >= 0, modulator * cross_entropy * scale, 0.0)
    tl.store(derivatives + place, derivative.to(derivatives.dtype.element_ty), mask=inside)
    if ELEMENTWISE:
        tl.store(values + place, loss, mask=inside)
    else:
        tl.store(values + tl.program_id(0), tl.sum(loss, axis=0))
