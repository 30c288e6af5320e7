"""The class loss for compilers, exporters and fake tensors.

It uses operations on whole tensors, which a compiler can fuse, and no shape depends on the labels.

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
    """Compute the loss, with the derivative from ``terms`` as its gradient.

    Autograd of the loss is not finite everywhere, see :mod:`retina_plugin.losses.terms`.

    Args:
        logits, labels: see :func:`retina_plugin.losses.sigmoid_focal_loss`.
        positive, negative: (K,) weights in the dtype of the computation.
        terms, gamma: see :func:`retina_plugin.losses.sigmoid_loss`.
        elementwise: whether to return the losses (R, K) instead of their sum.
    """
    used = labels[:, None] >= 0
    x = logits.to(negative.dtype).where(used, 0)  # logits of ignored anchors may be infinite
    constant = x.detach()
    present = labels[:, None] == torch.arange(logits.shape[1], device=labels.device)
    weight = torch.where(present, positive, negative).where(used, 0)
    loss, slope = terms(torch.where(present, -constant, constant), gamma)
    slope = F.hardshrink(slope, NEGLIGIBLE) * torch.where(present, -weight, weight)
    # Zeros with gradient 1; nan_to_num is for infinite logits. An autograd function would be
    # simpler, but exporters drop its backward pass and so the gradient.
    zeros = (x - constant).nan_to_num()
    loss = loss * weight + slope * zeros
    return loss if elementwise else loss.sum()
