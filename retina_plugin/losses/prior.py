"""Compute the initial score of each class from the number of its boxes."""

from __future__ import annotations

from collections.abc import Sequence


def auto_prior(counts: Sequence[int], *, base: float) -> list[float]:
    """Compute priors in proportion to the class frequencies.

    With the same prior for every class, as in RetinaNet's paper, the first training steps are spent
    on learning which classes are rare.

    Args:
        counts: number of boxes of each of the K classes in the training set.
        base: mean of the priors before they are clipped, in (0, 1).

    Returns:
        K priors, clipped to [``base / 100``, 0.5]. Without any boxes, every prior is ``base``.
    """
    total = sum(counts)
    if not total:
        return [base] * len(counts)
    return [min(max(base * len(counts) * count / total, base / 100), 0.5) for count in counts]
