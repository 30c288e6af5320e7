"""Width and height of boxes such that [x, y, width, height] gives back the same corners."""

from __future__ import annotations

import math


def length_between(low: float, high: float) -> float:
    """Return the length that gives exactly ``high`` if it is added to ``low``.

    It can differ from ``high - low`` by a rounding error. If ``high`` is a sum of ``low`` and a
    float, there is such a length, so the corners of boxes that were read as [x, y, width, height]
    are kept to the bit. Otherwise ``high - low`` is returned, and the sum differs from ``high`` by
    at most its last bit.
    """
    length = high - low
    if low + length == high:
        return length
    near = (math.nextafter(length, math.inf), math.nextafter(length, -math.inf))
    return next((value for value in near if low + value == high), length)
