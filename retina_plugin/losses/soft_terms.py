r"""The loss of one sigmoid with a soft target: quality focal loss and varifocal loss.

The target t of a present class is not 1 but a number in 0..1, such as the IoU of the predicted box.
The target of an absent class is 0. Let x be the logit, p = sigmoid(x), and

    CE = -t log p - (1 - t) log(1 - p),   d CE / d x = p - t.

    quality focal loss   in the factor of focal loss, |p - t| replaces 1 - p_t:
                         QFL = |p - t|^gamma CE
    varifocal loss       absent classes have focal loss; present classes are weighted by t:
                         VFL = t CE  if t > 0,  (1 - alpha) p^gamma CE  if t = 0

QFL is equation 4 of Li et al. (arXiv 2006.04388), and VFL equation 2 of Zhang et al. (arXiv
2008.13367), whose alpha of 0.75 is 1 - alpha here. For t = 1, QFL is focal loss without weights.
For t = 0, both are the focal loss of an absent class. With e = p - t,

    d QFL / d x = |e|^gamma (e + gamma CE p (1 - p) / e)
    d VFL / d x = t e.

The first is unbounded near e = 0 if 0 < gamma < 1, so such a gamma is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from retina_plugin.losses.terms import Terms, focal_terms


class SoftTerms(NamedTuple):
    """A loss of one sigmoid with soft targets.

    Attributes:
        negative: the loss of absent classes and its derivative, as functions of z = x.
        positive: (x, t, gamma) -> the loss of present classes and its derivative with respect to
            x. All have the shape, dtype and device of x, which may be empty and is not changed.
        target_is_weight: whether t is the weight of a positive, instead of alpha.
    """

    negative: Terms
    positive: Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]
    target_is_weight: bool


def negative_terms(terms: Terms | SoftTerms) -> Terms:
    """Return the loss of absent classes."""
    return terms.negative if isinstance(terms, SoftTerms) else terms


def positive_values(
    terms: Terms | SoftTerms, x: Tensor, target: Tensor | None, gamma: float
) -> tuple[Tensor, Tensor]:
    """Return the loss of present classes and its derivative with respect to x.

    Args:
        terms: hard terms ignore the target.
        x: the logits.
        target: t for each logit; None for 1.
        gamma: see :func:`retina_plugin.losses.sigmoid_loss`.
    """
    if isinstance(terms, SoftTerms):
        return terms.positive(x, torch.ones_like(x) if target is None else target, gamma)
    loss, slope = terms(-x, gamma)
    return loss, slope.neg_()


def _cross_entropy(x: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return CE, e = p - t and p (1 - p).

    There is no cancellation for t = 1 where p is near 1, and for t = 0 where p is near 0.
    """
    p, absent = x.sigmoid(), x.neg().sigmoid()
    loss = target * F.softplus(-x) + (1 - target) * F.softplus(x)
    return loss, (1 - target) * p - target * absent, p * absent


def _quality_focal_positive(x: Tensor, target: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    loss, error, variance = _cross_entropy(x, target)
    modulator = error.abs().pow(gamma)
    # At e = 0, the derivative is 0 for gamma > 1. For gamma 1 the loss has a kink there, and this
    # gives the mean of the two one-sided derivatives.
    ratio = variance / error.where(error != 0, 1)
    return loss * modulator, modulator * (error + gamma * loss * ratio)


def _varifocal_positive(x: Tensor, target: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    loss, error, _ = _cross_entropy(x, target)
    return target * loss, target * error


quality_focal_terms = SoftTerms(focal_terms, _quality_focal_positive, target_is_weight=False)
varifocal_terms = SoftTerms(focal_terms, _varifocal_positive, target_is_weight=True)
