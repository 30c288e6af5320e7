"""What one sigmoid costs and its two derivatives, for every step of the ladder: for figures and for
teaching.

q is the probability that the sigmoid gives to what is true, x its logit, so that q = sigmoid(x).
The derivative by q is not bounded near q = 0, whatever the step; the one by x, which is what
training sees, is.

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
    """The loss.

    Args:
        q: any shape, in (0, 1).
        terms: ``cross_entropy_terms``, ``focal_terms``, ``focal_star_terms`` or one's own.
        gamma: for ``terms``.
        alpha: weight.
    """
    return alpha * terms(_wrong_logit(q), gamma)[0]


def by_q(q: Tensor, terms: Terms, *, gamma: float = 0.0, alpha: float = 1.0) -> Tensor:
    """Its derivative by q, negative: for focal loss
    ``alpha (1 - q)^gamma (gamma log q / (1 - q) - 1 / q)``. See :func:`value`."""
    return -alpha * terms(_wrong_logit(q), gamma)[1] / (q * (1 - q))


def by_logit(x: Tensor, terms: Terms, *, gamma: float = 0.0, alpha: float = 1.0) -> Tensor:
    """Its derivative by the logit x of any size, negative; for focal loss
    ``alpha (1 - q)^gamma (gamma q log q + q - 1)``.

    See :func:`value`.
    """
    return -alpha * terms(-x, gamma)[1]


def _wrong_logit(q: Tensor) -> Tensor:
    """The logit of 1 - q."""
    return (-q).log1p() - q.log()
