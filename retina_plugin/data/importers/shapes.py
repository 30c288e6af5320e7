"""Compute the enclosing boxes of annotated shapes. Boxes are XYXY and points (x, y), with y
pointing down. Angles are in degrees, clockwise."""

from __future__ import annotations

import math
from collections.abc import Sequence

Point = tuple[float, float]
Box = tuple[float, float, float, float]


def enclosing_box(points: Sequence[Sequence[float]]) -> Box:
    """Return the enclosing box of at least one point."""
    xs, ys = [point[0] for point in points], [point[1] for point in points]
    return min(xs), min(ys), max(xs), max(ys)


def rotated_box(box: Sequence[float], angle: float, about: Sequence[float]) -> Box:
    """Return the enclosing box of ``box`` after rotation about a point."""
    left, top, right, bottom = box
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    offsets = [(x - about[0], y - about[1]) for x, y in corners]
    return enclosing_box(
        [
            (about[0] + dx * cosine - dy * sine, about[1] + dx * sine + dy * cosine)
            for dx, dy in offsets
        ]
    )


def ellipse_box(center: Sequence[float], radii: Sequence[float], angle: float = 0.0) -> Box:
    """Return the enclosing box of an ellipse that is rotated about its centre."""
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    half_width = math.hypot(radii[0] * cosine, radii[1] * sine)
    half_height = math.hypot(radii[0] * sine, radii[1] * cosine)
    x, y = center
    return x - half_width, y - half_height, x + half_width, y + half_height
