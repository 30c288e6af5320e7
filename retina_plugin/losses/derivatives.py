"""The class loss of one sigmoid and its derivatives, for figures and for teaching.

q = sigmoid(x) is the probability of the correct answer, and x is its logit. For every class loss,
the derivative with respect to q is unbounded near q = 0. The derivative with respect to x, which
training uses, is bounded.

Example:
    >>> import torch
    >>> from retina_plugin.losses import derivatives, focal_terms
    >>> derivatives.value(torch.tensor(0.1), focal_terms, gamma=2.0)  # 0.81 * -log(0.1)
    tensor(1.8651)
"""

from __future__ import annotations

from torch import Tensor

from retina_plugin.losses.terms import Terms


def value(q: Tensor, terms: Terms, *, gamma: float = 0.0, alpha: float = 1.0) -> Tensor:
    """Return the loss.

    Args:
        q: any shape, in (0, 1).
        terms: ``cross_entropy_terms``, ``focal_terms``, ``focal_star_terms`` or another function
            with the same interface.
        gamma: passed to ``terms``.
        alpha: weight of the loss.
    """
    return alpha * terms(_wrong_logit(q), gamma)[0]


def by_q(q: Tensor, terms: Terms, *, gamma: float = 0.0, alpha: float = 1.0) -> Tensor:
    """Return the derivative of the loss with respect to q, which is negative.

    For focal loss it is ``alpha (1 - q)^gamma (gamma log q / (1 - q) - 1 / q)``. The arguments
    are those of :func:`value`.
    """
    return -alpha * terms(_wrong_logit(q), gamma)[1] / (q * (1 - q))


def by_logit(x: Tensor, terms: Terms, *, gamma: float = 0.0, alpha: float = 1.0) -> Tensor:
    """Return the derivative of the loss with respect to the logit x, which is negative.

    For focal loss it is ``alpha (1 - q)^gamma (gamma q log q + q - 1)``. x may be any finite
    number; for the other arguments see :func:`value`.
    """
    return -alpha * terms(-x, gamma)[1]


def _wrong_logit(q: Tensor) -> Tensor:
    """Return the logit of 1 - q."""
    return (-q).log1p() - q.log()
