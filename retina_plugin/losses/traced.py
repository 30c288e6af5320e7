"""The class loss for compilers, exporters and fake tensors.

It uses operations on whole tensors, which a compiler can fuse, and no shape depends on the labels.

Axes: R anchors, K classes.
"""

from __future__ import annotations

from torch import Tensor

from retina_plugin.losses.chunked import dense_values
from retina_plugin.losses.soft_terms import SoftTerms
from retina_plugin.losses.terms import Terms


def traced_loss(
    logits: Tensor,
    labels: Tensor,
    quality: Tensor | None,
    positive: Tensor,
    negative: Tensor,
    terms: Terms | SoftTerms,
    gamma: float,
    elementwise: bool,
) -> Tensor:
    """Compute the loss, with the derivative from ``terms`` as its gradient.

    Autograd of the loss is not finite everywhere, see :mod:`retina_plugin.losses.terms`.

    Args:
        logits, labels: see :func:`retina_plugin.losses.sigmoid_focal_loss`.
        positive, negative: (K,) weights in the dtype of the computation.
        terms, quality, gamma: see :func:`retina_plugin.losses.sigmoid_loss`.
        elementwise: whether to return the losses (R, K) instead of their sum.
    """
    # logits of ignored anchors may be infinite
    x = logits.to(negative.dtype).where(labels[:, None] >= 0, 0)
    constant = x.detach()
    loss, slope = dense_values(terms, constant, labels, quality, positive, negative, gamma)
    # This tensor is 0, and its gradient is 1, so the gradient of slope * zeros is slope. nan_to_num
    # is needed for infinite logits. An autograd function would be simpler, but exporters drop its
    # backward pass.
    zeros = (x - constant).nan_to_num()
    loss = loss + slope * zeros
    return loss if elementwise else loss.sum()
