r"""The loss of one sigmoid and its derivative: cross entropy, focal loss and focal loss*.

p_t is the predicted probability of the correct answer: p if the class is present, 1 - p if it is
absent.

    cross entropy           CE  = -log p_t
    balanced cross entropy  a weight for positives and negatives, or for each class:
                                  -alpha_t log p_t
    focal loss              a factor that reduces the loss of well-classified examples:
                            FL  = -alpha_t (1 - p_t)^gamma log p_t
    focal loss*             a similar effect, with gamma inside the sigmoid:
                            FL* = -alpha_t log p_t* / gamma,  p_t* = sigmoid(gamma y x + beta)

FL is equation 5 of Lin et al. (arXiv 1708.02002), and FL* is from its appendix A. Let x be the
logit, y = +1 if the class is present and y = -1 if it is absent. Then (appendix B)

    d FL / d x = y alpha_t (1 - p_t)^gamma (gamma p_t log p_t + p_t - 1).

This derivative is bounded. Autograd of the formula for FL can give NaN instead: for gamma < 1, the
derivative of (1 - p_t)^gamma is infinite at p_t = 1, and infinity times zero is NaN.

The functions below take z = -y x, which is x if the class is absent and -x if it is present, and
gamma. They return the loss without alpha_t and its derivative with respect to z.
:mod:`retina_plugin.losses.class_losses` builds the class losses from them.

Losses with a soft target t in 0..1 for present classes are in
:mod:`retina_plugin.losses.soft_terms`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

# (z, gamma) -> the loss and its derivative with respect to z, both with the shape, dtype and device
# of z. z may be empty and must not be changed.
Terms = Callable[[Tensor, float], tuple[Tensor, Tensor]]


def cross_entropy_terms(z: Tensor, gamma: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return -log p_t = log(1 + e^z) and its derivative 1 - p_t; ``gamma`` is ignored."""
    return F.softplus(z), z.sigmoid()


def focal_terms(z: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """Return cross entropy times (1 - p_t)^gamma, and its derivative."""
    cross_entropy, wrong = cross_entropy_terms(z)
    right = z.neg().sigmoid_()  # 1 - wrong would lose its digits for a large z
    modulator = wrong.pow(gamma)
    derivative = torch.addcmul(wrong, right, cross_entropy, value=gamma).mul_(modulator)
    return cross_entropy.mul_(modulator), derivative


def focal_star_terms(z: Tensor, gamma: float, beta: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return -log(p_t*) / gamma with p_t* = sigmoid(beta - gamma z), and its derivative."""
    cross_entropy, wrong = cross_entropy_terms(z * gamma - beta)
    return cross_entropy.div_(gamma), wrong
