"""Losses of all sigmoids for compilers, exporters and fake tensors: plain operations on whole
tensors, which a compiler fuses, and no shape that depends on labels.

Axes: R anchors, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from retina_plugin.losses.chunked import NEGLIGIBLE
from retina_plugin.losses.terms import Terms


def traced_loss(
    logits: Tensor,
    labels: Tensor,
    positive: Tensor,
    negative: Tensor,
    terms: Terms,
    gamma: float,
    elementwise: bool,
) -> Tensor:
    """The loss (R, K) when ``elementwise``, else its sum. The gradient is the derivative that
    ``terms`` gives: autograd's own is not finite everywhere, see
    :mod:`retina_plugin.losses.terms`.

    Args:
        logits, labels: see :func:`retina_plugin.losses.sigmoid_focal_loss`.
        positive, negative: (K,) weights in the dtype of the computation.
        terms, gamma: see :func:`retina_plugin.losses.sigmoid_loss`.
    """
    counts = labels[:, None] >= 0
    x = logits.to(negative.dtype).where(counts, 0)  # ignored anchors may hold anything
    fixed = x.detach()
    present = labels[:, None] == torch.arange(logits.shape[1], device=labels.device)
    weight = torch.where(present, positive, negative).where(counts, 0)
    loss, slope = terms(torch.where(present, -fixed, fixed), gamma)
    slope = F.hardshrink(slope, NEGLIGIBLE) * torch.where(present, -weight, weight)
    # Zeros whose gradient is 1; infinite logits would give NaN. Exporters drop the backward pass
    # of an autograd function, and with it the gradient; these operations they keep.
    zeros = (x - fixed).nan_to_num()
    loss = loss * weight + slope * zeros
    return loss if elementwise else loss.sum()
