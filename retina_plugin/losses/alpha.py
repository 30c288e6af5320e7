"""The weight of each class from how often it occurs."""

from __future__ import annotations

from collections.abc import Sequence


def auto_alpha(
    counts: Sequence[int],
    *,
    base: float = 0.25,
    power: float = 0.5,
    clip: tuple[float, float] = (0.01, 0.99),
) -> list[float]:
    """``alpha_i = 1 / (f_i + eps)``, tamed so that it can be used: by a power, to a mean, within
    bounds.

    f_i is the share of class i in all boxes and eps that of one box. As it stands, the weight of a
    class seen once would be thousands of times that of a common one; the power draws them together,
    and the mean over classes becomes ``base``, for which gamma was chosen. Bounds come last, so
    that the mean moves a little where they are reached.

    Background is no class and has no share: with it, f_i of every class would be near 0. Anchors on
    background are negatives of class i with the weight ``1 - alpha_i``, like those on other
    classes. A class without a box has no positives to weigh: it gets ``base``, so that its
    negatives count as usual, and does not take part in the mean.

    Args:
        counts: boxes of each class in the training set, K of them.
        base: mean of the weights, in (0, 1).
        power: at least 0; 0 gives every class ``base``, 1 weights in inverse proportion to the
            number of boxes.
        clip: smallest and largest weight.

    Returns:
        K weights of positives.
    """
    total = sum(counts)
    rarity = [(total / (count + 1)) ** power if count else None for count in counts]
    present = [r for r in rarity if r is not None]
    scale = base * len(present) / sum(present) if present else 0.0
    return [base if r is None else min(max(r * scale, clip[0]), clip[1]) for r in rarity]
