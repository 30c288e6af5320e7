"""The score of each class before training, from how often it occurs."""

from __future__ import annotations

from collections.abc import Sequence


def auto_prior(counts: Sequence[int], *, base: float) -> list[float]:
    """``base`` for a class with its equal share of the boxes, and in proportion for the others.

    The one prior of RetinaNet makes every class as likely at first; with a rare class, the first
    steps go into learning that it is rare.

    Args:
        counts: boxes of each class in the training set, K of them; all 0 gives every class
            ``base``.
        base: mean over the classes, in (0, 1).

    Returns:
        K scores, at least ``base / 100`` and at most 0.5.
    """
    total = sum(counts)
    if not total:
        return [base] * len(counts)
    return [min(max(base * len(counts) * count / total, base / 100), 0.5) for count in counts]
