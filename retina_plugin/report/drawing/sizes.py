"""Widths of lines and sizes of text, which follow the image and its objects."""

from __future__ import annotations

import math

import numpy as np

SMALLEST_TEXT = 11  # pixels; smaller letters are hard to read


def line_width(height: int, width: int) -> int:
    """Return the width of lines in pixels for an image: 2 at 640 x 480, 22 at 8000 x 6000."""
    return max(2, round(math.sqrt(height * width) / 320))


def line_width_of_box(width: int, x0: int, y0: int, x1: int, y1: int) -> int:
    """Return the width of the lines of one box: thinner for small boxes, which it would cover."""
    return max(1, min(width, min(x1 - x0, y1 - y0) // 8))


def font_size(height: int, width: int, boxes: np.ndarray) -> int:
    """Return the size of text in pixels.

    Args:
        height, width: size of the image in pixels.
        boxes: (M, 4) XYXY pixels; small boxes make the text smaller.

    Returns:
        Between a sixtieth and a ninetieth of the image's mean side, and at least 11.
    """
    side = math.sqrt(height * width)
    largest, smallest = max(12.0, side / 60), max(float(SMALLEST_TEXT), side / 90)
    if not len(boxes):
        return round(largest)
    areas = (boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(axis=1)
    return round(min(max(math.sqrt(float(np.median(areas))) / 6, smallest), largest))
