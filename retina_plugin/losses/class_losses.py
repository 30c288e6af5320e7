"""Class losses as functions of logits and labels.

With hard targets: cross entropy, balanced cross entropy, focal loss and focal loss*. With soft
targets: quality focal loss and varifocal loss.
"""

from __future__ import annotations

from torch import Tensor

from retina_plugin.losses.one_pass import NO_WEIGHTS, sigmoid_loss
from retina_plugin.losses.soft_terms import quality_focal_terms, varifocal_terms
from retina_plugin.losses.terms import cross_entropy_terms, focal_star_terms, focal_terms


def sigmoid_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: object = None,
    gamma: object = None,
    reduction: str = "sum",
) -> Tensor:
    """Compute the cross entropy of K independent sigmoids, without weights.

    ``alpha`` and ``gamma`` are ignored; for the rest see :func:`sigmoid_focal_loss`.
    """
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
    """Compute cross entropy with weights for positives and negatives; 0.75 is the paper's alpha.

    ``gamma`` is ignored; for the rest see :func:`sigmoid_focal_loss`.
    """
    return sigmoid_loss(
        cross_entropy_terms, logits, labels, alpha=alpha, gamma=0.0, reduction=reduction
    )


def sigmoid_focal_loss(
    logits: Tensor, labels: Tensor, *, alpha: float | Tensor, gamma: float, reduction: str = "sum"
) -> Tensor:
    """Compute the focal loss of K independent sigmoids per anchor (arXiv 1708.02002, section 3.2).

    The loss and its gradient are finite for every ``gamma >= 0``.

    Args:
        logits: (R, K), any floating dtype; computed in float32 or float64.
        labels: (R,) int64: a class in [0, K); K for background, for which all K logits are
            negatives; or -1 for ignored, with loss and gradient 0.
        alpha: weight of positives, in [0, 1]; negatives have the weight ``1 - alpha``. A tensor
            (K,) holds one weight per class. A negative number turns weighting off. 0.25 in the
            paper.
        gamma: focusing parameter, at least 0; 0 gives (balanced) cross entropy. 2 in the paper.
        reduction: "sum", "mean" (over R * K) or "none".

    Returns:
        A scalar, or (R, K) for "none". For R = 0 the scalar is 0, with a gradient.

    Raises:
        ValueError: if shapes do not match, alpha is above 1 (or, per class, below 0), gamma is
            negative or the reduction is unknown.
        RuntimeError: in the backward pass, if it is called with ``create_graph=True``; second
            derivatives are not supported.
    """
    return sigmoid_loss(focal_terms, logits, labels, alpha=alpha, gamma=gamma, reduction=reduction)


def sigmoid_focal_star_loss(
    logits: Tensor, labels: Tensor, *, alpha: float | Tensor, gamma: float, reduction: str = "sum"
) -> Tensor:
    """Compute focal loss* (arXiv 1708.02002, appendix A) with beta = 1; gamma is 2 in the paper.

    For arguments and errors see :func:`sigmoid_focal_loss`.

    Raises:
        ValueError: also if gamma is 0, because the loss is divided by gamma.
    """
    if gamma == 0:
        raise ValueError(
            "focal_star divides by gamma, which must be above 0; use balanced_ce for a loss "
            "without focusing"
        )
    return sigmoid_loss(
        focal_star_terms, logits, labels, alpha=alpha, gamma=gamma, reduction=reduction
    )


def sigmoid_quality_focal_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    quality: Tensor | None = None,
    alpha: object = None,
    gamma: float,
    reduction: str = "sum",
) -> Tensor:
    """Compute the quality focal loss (arXiv 2006.04388, equation 4), without weights.

    It is focal loss with a soft target, see :mod:`retina_plugin.losses.soft_terms`.

    Args:
        quality: (R,) in 0..1, the targets of the positives, such as the IoU of the predicted box;
            other rows may have any value. None for 1, which gives focal loss without weights.
        alpha: is ignored.
        gamma: 0, or at least 1; called beta in the paper, which finds 2 best. Between 0 and 1 it is
            an error, because the derivative is unbounded where the score equals its target.

    For the other arguments, the result and errors see :func:`sigmoid_focal_loss`.

    Raises:
        ValueError: also if a quality is outside 0..1, or gamma lies between 0 and 1 and there is a
            quality.
    """
    if quality is not None and 0 < gamma < 1:
        raise ValueError(
            f"gamma of quality_focal must be 0 or at least 1, found {gamma}: between 0 and 1, the "
            "derivative is unbounded where the score equals its target"
        )
    return sigmoid_loss(
        quality_focal_terms,
        logits,
        labels,
        alpha=NO_WEIGHTS,
        gamma=gamma,
        reduction=reduction,
        quality=quality,
    )


def sigmoid_varifocal_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    quality: Tensor | None = None,
    alpha: float | Tensor,
    gamma: float,
    reduction: str = "sum",
) -> Tensor:
    """Compute the varifocal loss (arXiv 2008.13367, equation 2).

    Positives have cross entropy with a soft target, weighted by the target. Negatives have focal
    loss. See :mod:`retina_plugin.losses.soft_terms`.

    Args:
        quality: (R,) in 0..1, as for :func:`sigmoid_quality_focal_loss`; None for 1.
        alpha: negatives have the weight ``1 - alpha``, as in :func:`sigmoid_focal_loss`; 0.25 gives
            the paper's 0.75. Positives are not weighted by it.
        gamma: the focusing parameter of negatives, at least 0; 2 in the paper.

    For the other arguments, the result and errors see :func:`sigmoid_focal_loss`.

    Raises:
        ValueError: also if a quality is outside 0..1.
    """
    return sigmoid_loss(
        varifocal_terms,
        logits,
        labels,
        alpha=alpha,
        gamma=gamma,
        reduction=reduction,
        quality=quality,
    )
