"""Compute the weight alpha of each class from the number of its boxes."""

from __future__ import annotations

from collections.abc import Sequence


def auto_alpha(
    counts: Sequence[int],
    *,
    base: float = 0.25,
    power: float = 0.5,
    clip: tuple[float, float] = (0.01, 0.99),
) -> list[float]:
    """Compute class weights from class frequencies: rare classes get larger weights.

    ``alpha_i = clip(scale * (1 / (f_i + eps)) ** power)``, where f_i is the share of class i in all
    boxes, eps is the share of one box, and ``scale`` makes the mean over the classes ``base``. If a
    weight is clipped, the mean can differ from ``base``.

    There is no weight for background: for class i, anchors on background and on other classes are
    negatives with the weight ``1 - alpha_i``. A class without boxes gets ``base`` and is left out
    of the mean.

    Args:
        counts: number of boxes of each of the K classes in the training set.
        base: mean of the weights, in (0, 1).
        power: at least 0. With 0, every class gets ``base``; with 1, weights are inversely
            proportional to the number of boxes plus 1.
        clip: smallest and largest weight.

    Returns:
        K weights, of the positives of each class.
    """
    total = sum(counts)
    rarity = [(total / (count + 1)) ** power if count else None for count in counts]
    present = [r for r in rarity if r is not None]
    scale = base * len(present) / sum(present) if present else 0.0
    return [base if r is None else min(max(r * scale, clip[0]), clip[1]) for r in rarity]
