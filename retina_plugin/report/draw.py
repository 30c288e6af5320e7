"""Boxes with class names and scores on an image."""

from __future__ import annotations

import colorsys
import functools
import os
from collections.abc import Sequence

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]


def class_colour(label: int) -> Colour:
    """A colour for each class, far from those of its neighbours, the same in every picture."""
    hue = (label * 0.61803398875) % 1.0  # the golden ratio never comes close to a hue that it gave before
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75 if label % 2 else 0.95, 1.0 if label % 3 else 0.85)
    return round(red * 255), round(green * 255), round(blue * 255)


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along and which knows most alphabets."""
    return ImageFont.truetype(os.path.join(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def draw_boxes(
    image: np.ndarray,
    boxes: Sequence[Sequence[float]] | np.ndarray,
    labels: Sequence[int] | np.ndarray,
    *,
    class_names: Sequence[str],
    scores: Sequence[float] | np.ndarray | None = None,
    crowd: Sequence[bool] | None = None,
) -> np.ndarray:
    """Draw boxes on a copy of an image; lines and letters grow with the image.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (M, 4) XYXY pixels; M may be 0.
        labels: (M,) in [0, K).
        class_names: K names.
        scores: (M,) in [0, 1], shown in percent; best boxes are drawn last, on top.
        crowd: (M,) True for regions of many objects; their name says so.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: a label without a name.
    """
    outside = [int(label) for label in labels if not 0 <= label < len(class_names)]
    if outside:
        raise ValueError(
            f"class {outside[0]} has no name: {len(class_names)} names are known ({', '.join(class_names[:8])})"
        )
    picture = Image.fromarray(np.ascontiguousarray(image))
    pen = ImageDraw.Draw(picture)
    width = max(1, round(min(picture.size) / 250))
    order = range(len(boxes)) if scores is None else np.argsort(np.asarray(scores))
    for i in order:
        colour, label = class_colour(int(labels[i])), class_names[int(labels[i])]
        x0, y0, x1, y1 = (float(v) for v in boxes[i])
        pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=colour, width=width)
        text = label if scores is None else f"{label} {scores[i]:.0%}"
        _tag(pen, text + (" (crowd)" if crowd is not None and crowd[i] else ""), (x0, y0), colour, picture.size)
    return np.asarray(picture)


def _tag(
    pen: ImageDraw.ImageDraw, text: str, corner: tuple[float, float], colour: Colour, size: tuple[int, int]
) -> None:
    """A filled label above the corner, moved inside the image when it would leave it."""
    letters = font(max(10, round(min(size) / 45)))
    left, top, right, bottom = pen.textbbox((0, 0), text, font=letters)
    width, height = right - left + 4, bottom - top + 4
    x = min(max(corner[0], 0), max(size[0] - width, 0))
    y = corner[1] - height if corner[1] >= height else min(max(corner[1], 0), max(size[1] - height, 0))
    pen.rectangle((x, y, x + width, y + height), fill=colour)
    bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 130
    pen.text((x + 2 - left, y + 2 - top), text, fill=(0, 0, 0) if bright else (255, 255, 255), font=letters)


def enlarge(image: np.ndarray, boxes: np.ndarray, *, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Scale an image and its boxes up by a whole factor until its shorter side has ``least`` pixels, so that labels can be read."""
    factor = max(1, -(-least // min(image.shape[:2])))
    height, width = image.shape[:2]
    large = Image.fromarray(np.ascontiguousarray(image)).resize(
        (width * factor, height * factor), Image.Resampling.BICUBIC
    )
    return np.asarray(large), np.asarray(boxes, dtype=np.float64).reshape(-1, 4) * factor
