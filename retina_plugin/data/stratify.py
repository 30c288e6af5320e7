"""Divide units, such as images or groups of images, into two sides with similar classes.

Axes: U units, C classes.
"""

from __future__ import annotations

import numpy as np

LARGEST = 1.5  # the second side has at most this many times the images asked for


def stratify(
    counts: np.ndarray, sizes: np.ndarray, *, fraction: float, rng: np.random.Generator
) -> np.ndarray:
    """Choose the units of the second side by iterative stratification.

    The class with the fewest remaining units comes first. Its units, the largest first, go to the
    side that lacks more images of the class; if both lack the same, to the side that lacks more
    images. Then units are moved so that

    - every class has a unit on the first side;
    - every class with two or more units has one on the second side, if the first side still has
      every class then, and the second side at most 1.5 times the images asked for.

    Source: Sechidis, Tsoumakas, Vlahavas: On the stratification of multi-label data, 2011. The
    rules for rare classes are our own.

    Args:
        counts: (U, C) number of images in each unit that have an object of each class.
        sizes: (U,) number of images in each unit, at least 1.
        fraction: fraction of images for the second side, in 0..1.
        rng: chooses among equal units.

    Returns:
        (U,) bool: the units of the second side. Its first unit may have more than 1.5 times the
        images asked for.
    """
    order = rng.permutation(len(sizes))
    counts, sizes = counts[order].astype(np.float64), sizes[order].astype(np.float64)
    most = LARGEST * fraction * sizes.sum()
    second = _assign(counts, sizes, fraction, most)
    _complete_first_side(counts > 0, sizes, second)
    _complete_second_side(counts > 0, sizes, second, most)
    result = np.empty_like(second)
    result[order] = second
    return result


def _assign(counts: np.ndarray, sizes: np.ndarray, fraction: float, most: float) -> np.ndarray:
    images = np.array([1 - fraction, fraction]) * sizes.sum()
    lacking = _wanted(counts, fraction)
    second = np.zeros(len(sizes), dtype=bool)
    left = np.ones(len(sizes), dtype=bool)
    while left.any():
        chosen, units = _next_units(counts, left)
        for unit in sorted(np.flatnonzero(units), key=lambda u: -sizes[u]):
            first, other = images if chosen is None else lacking[:, chosen]
            to_second = other > first or (other == first and images[1] > images[0])
            fits = not second.any() or sizes[second].sum() + sizes[unit] <= most
            second[unit], left[unit] = to_second and fits, False
            lacking[int(second[unit])] -= counts[unit]
            images[int(second[unit])] -= sizes[unit]
    return second


def _wanted(counts: np.ndarray, fraction: float) -> np.ndarray:
    """Return (2, C): the number of images of each class that each side should get. It is at least
    the smallest unit of the class, but 0 for the second side if the class has only one unit."""
    total = counts.sum(0)
    smallest = np.where(counts > 0, counts, np.inf).min(0, initial=np.inf)
    of_second = np.minimum(np.maximum(fraction * total, smallest), total - smallest)
    of_second = np.where((counts > 0).sum(0) > 1, of_second, 0)
    return np.stack([total - of_second, of_second])


def _next_units(counts: np.ndarray, left: np.ndarray) -> tuple[int | None, np.ndarray]:
    """Return the class with the fewest remaining units, and these units (U,) bool; None and all
    remaining units if no class has any."""
    remaining = ((counts > 0) & left[:, None]).sum(0)
    if not remaining.any():
        return None, left.copy()
    chosen = int(np.where(remaining > 0, remaining, len(left) + 1).argmin())
    return chosen, left & (counts[:, chosen] > 0)


def _complete_first_side(has: np.ndarray, sizes: np.ndarray, second: np.ndarray) -> None:
    """Move units to the first side until it has every class; ``second`` is changed in place."""
    for index in range(has.shape[1]):
        units = np.flatnonzero(has[:, index])
        if len(units) and second[units].all():
            second[units[sizes[units].argmin()]] = False


def _complete_second_side(
    has: np.ndarray, sizes: np.ndarray, second: np.ndarray, most: float
) -> None:
    """Move units to the second side for classes that it lacks, rare classes first; ``second`` is
    changed in place."""
    for index in np.argsort(has.sum(0), kind="stable"):
        units = np.flatnonzero(has[:, index])
        if len(units) < 2 or second[units].any():
            continue
        for unit in sorted(units, key=lambda u: sizes[u]):
            spared = (has[~second].sum(0) > 1)[has[unit]].all()
            fits = not second.any() or sizes[second].sum() + sizes[unit] <= most
            if spared and fits:
                second[unit] = True
                break


def choose_spared(
    has: np.ndarray, sizes: np.ndarray, *, wanted: float, rng: np.random.Generator
) -> np.ndarray:
    """Choose units for the second side if every unit has the only objects of some class.

    Each time, the unit is chosen without which the first side lacks the fewest further classes.

    Args:
        has: (U, C) bool: whether a unit has objects of a class. Units without any are not chosen.
        sizes: (U,) number of images in each unit, at least 1.
        wanted: number of images on the second side.
        rng: chooses among equal units.

    Returns:
        (U,) bool: the units of the second side; at least one, and not all that have objects.
    """
    second = np.zeros(len(sizes), dtype=bool)
    left = rng.permutation(np.flatnonzero(has.any(1))).tolist()
    while len(left) > 1 and sizes[second].sum() < wanted:
        only = has[~second].sum(0) == 1
        chosen = left[int((has[left] & only).sum(1).argmin())]
        second[chosen] = True
        left.remove(chosen)
    return second
