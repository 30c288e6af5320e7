"""Class losses: the steps of the ladder as functions of logits and labels."""

from __future__ import annotations

from torch import Tensor

from retina_plugin.losses.one_pass import NO_WEIGHTS, sigmoid_loss
from retina_plugin.losses.terms import cross_entropy_terms, focal_star_terms, focal_terms


def sigmoid_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: object = None,
    gamma: object = None,
    reduction: str = "sum",
) -> Tensor:
    """Cross entropy of K independent sigmoids; see :func:`sigmoid_focal_loss`. ``alpha`` and
    ``gamma`` are not used."""
    return sigmoid_loss(
        cross_entropy_terms, logits, labels, alpha=NO_WEIGHTS, gamma=0.0, reduction=reduction
    )


def balanced_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: float | Tensor,
    gamma: object = None,
    reduction: str = "sum",
) -> Tensor:
    """Cross entropy with weights; see :func:`sigmoid_focal_loss`. ``gamma`` is not used. Paper's
    alpha: 0.75."""
    return sigmoid_loss(
        cross_entropy_terms, logits, labels, alpha=alpha, gamma=0.0, reduction=reduction
    )


def sigmoid_focal_loss(
    logits: Tensor, labels: Tensor, *, alpha: float | Tensor, gamma: float, reduction: str = "sum"
) -> Tensor:
    """Focal loss over K independent sigmoids for each anchor, finite in value and gradient for
    every ``gamma >= 0``.

    Args:
        logits: (R, K), any floating dtype; computed in float32 at least.
        labels: (R,) int64: a class in [0, K), K for background (all K logits are negatives), -1 for
            ignored (loss and gradient 0).
        alpha: weight of positives in [0, 1], negatives have ``1 - alpha``; a tensor (K,) gives each
            class its own; a negative number means no weighting at all. Paper: 0.25.
        gamma: focusing parameter, at least 0; 0 is (balanced) cross entropy. Paper: 2.
        reduction: "sum", "mean" (over R * K) or "none".

    Returns:
        A scalar, or (R, K) for "none". For R = 0 the sum is 0 and connected to ``logits``.

    Raises:
        ValueError: shapes that do not fit, an alpha above 1, a negative gamma, an unknown
            reduction.
        RuntimeError: by the backward pass, when a second derivative is asked for
            (``create_graph=True``).
    """
    return sigmoid_loss(focal_terms, logits, labels, alpha=alpha, gamma=gamma, reduction=reduction)


def sigmoid_focal_star_loss(
    logits: Tensor, labels: Tensor, *, alpha: float | Tensor, gamma: float, reduction: str = "sum"
) -> Tensor:
    """Focal loss* with the paper's beta of 1; see :func:`sigmoid_focal_loss`. Paper's gamma: 2.

    Raises:
        ValueError: also a gamma of 0, where it is infinite.
    """
    if gamma == 0:
        raise ValueError(
            "focal_star divides by gamma, which must be above 0; without focusing, take balanced_ce"
        )
    return sigmoid_loss(
        focal_star_terms, logits, labels, alpha=alpha, gamma=gamma, reduction=reduction
    )
