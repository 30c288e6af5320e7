r"""The ladder from cross entropy to focal loss, each step the previous one plus one idea.

With p_t the probability given to what is true (p of a class where it is present, 1 - p where it is
absent):

    cross entropy            CE  = -log p_t
    balanced cross entropy         -alpha_t log p_t                      + weights for the two
    sides, or for each class focal loss               FL  = -alpha_t (1 - p_t)^gamma log p_t      +
    what is right already counts little focal loss*              FL* = -alpha_t log p_t* / gamma
    the same bend with the weight inside the sigmoid

FL is equation 5 of Lin et al., arXiv 1708.02002, FL* its appendix A. For a logit x with y = +1
where the class is present and y = -1 where it is absent, appendix B has the derivative

    d FL / d x = y alpha_t (1 - p_t)^gamma (gamma p_t log p_t + p_t - 1).

It is bounded everywhere, whereas autograd of the formula is not: the derivative of (1 - p_t)^gamma
alone is gamma (1 - p_t)^(gamma - 1), infinite at p_t = 1 for gamma < 1, and infinity times zero is
NaN.

The functions here say this for one sigmoid, in terms of z = -y x, the logit of being wrong: x where
the class is absent, -x where it is present. Each takes z and gamma and returns the loss and its
derivative by z; :mod:`retina_plugin.losses.class_losses` makes losses of them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

# (z, gamma) -> loss and derivative by z, both of z's shape, dtype and device. z may be empty, and
# must not be changed.
Terms = Callable[[Tensor, float], tuple[Tensor, Tensor]]


def cross_entropy_terms(z: Tensor, gamma: float = 0.0) -> tuple[Tensor, Tensor]:
    """-log p_t = log(1 + e^z) and its derivative 1 - p_t; ``gamma`` is not used."""
    return F.softplus(z), z.sigmoid()


def focal_terms(z: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """Cross entropy times (1 - p_t)^gamma."""
    cross_entropy, wrong = cross_entropy_terms(z)
    right = z.neg().sigmoid_()  # 1 - wrong would have no digits left for a large z
    modulator = wrong.pow(gamma)
    derivative = torch.addcmul(wrong, right, cross_entropy, value=gamma).mul_(modulator)
    return cross_entropy.mul_(modulator), derivative


def focal_star_terms(z: Tensor, gamma: float, beta: float = 1.0) -> tuple[Tensor, Tensor]:
    """Cross entropy of the steeper and shifted logit: p_t* = sigmoid(gamma x_t + beta), over
    gamma."""
    cross_entropy, wrong = cross_entropy_terms(z * gamma - beta)
    return cross_entropy.div_(gamma), wrong
