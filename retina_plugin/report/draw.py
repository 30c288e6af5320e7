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
Corners = tuple[int, int, int, int]  # x0, y0, x1, y1, the last two not included

DARK, BRIGHT = (0, 0, 0), (255, 255, 255)
# Most data sets have few classes: theirs were chosen to be told apart at a glance, by their
# brightness too.
PALETTE: tuple[Colour, ...] = (
    (255, 60, 60),
    (60, 150, 255),
    (70, 215, 70),
    (255, 205, 0),
    (200, 80, 255),
    (0, 225, 215),
    (255, 130, 0),
    (255, 150, 205),
    (60, 60, 230),
    (175, 110, 50),
    (190, 255, 120),
    (225, 225, 225),
)


def class_colour(label: int) -> Colour:
    """A colour for each class, the same in every picture: the palette's, then hues that come close
    to one another late."""
    if label < len(PALETTE):
        return PALETTE[label]
    # the golden ratio never comes close to a hue that it gave just before
    hue = (label * 0.61803398875) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(
        hue, 0.6 if label % 2 else 0.95, 1.0 if label % 3 else 0.75
    )
    return round(red * 255), round(green * 255), round(blue * 255)


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along and which knows most alphabets."""
    return ImageFont.truetype(
        os.path.join(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size
    )


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
            f"class {outside[0]} has no name: {len(class_names)} names are known "
            f"({', '.join(class_names[:8])})"
        )
    picture = Image.fromarray(np.ascontiguousarray(image))
    pen = ImageDraw.Draw(picture)
    corners = [_corners(box) for box in boxes]
    texts = [class_names[int(label)] for label in labels]
    if scores is not None:
        texts = [f"{text} {score:.0%}" for text, score in zip(texts, scores, strict=True)]
    if crowd is not None:
        texts = [
            f"{text} (crowd)" if many else text for text, many in zip(texts, crowd, strict=True)
        ]
    best_first = list(
        range(len(boxes)) if scores is None else np.argsort(-np.asarray(scores), kind="stable")
    )
    letters = font(max(12, round(min(picture.size) / 45)))
    places = place_tags(
        [corners[i] for i in best_first], [texts[i] for i in best_first], letters, picture.size
    )
    for i in reversed(best_first):
        _rectangle(
            pen,
            corners[i],
            class_colour(int(labels[i])),
            width=max(2, round(min(picture.size) / 250)),
        )
    # after all lines, which would cross them out
    for i, place in reversed(list(zip(best_first, places, strict=True))):
        _tag(pen, texts[i], place, class_colour(int(labels[i])), letters)
    return np.asarray(picture)


def _corners(box: Sequence[float] | np.ndarray) -> Corners:
    """The whole pixels of a box: at least one in each direction."""
    x0, y0, x1, y1 = (round(float(v)) for v in box)
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def _rectangle(pen: ImageDraw.ImageDraw, corners: Corners, colour: Colour, *, width: int) -> None:
    """A coloured line just within the box and a dark one around it, so that it is seen on any
    ground."""
    x0, y0, x1, y1 = corners
    pen.rectangle((x0 - 1, y0 - 1, x1, y1), outline=DARK)
    pen.rectangle((x0, y0, x1 - 1, y1 - 1), outline=colour, width=width)


def place_tags(
    boxes: Sequence[Corners],
    texts: Sequence[str],
    letters: ImageFont.FreeTypeFont,
    size: tuple[int, int],
) -> list[Corners]:
    """Where the name of each box goes: beside its box, within the image, off the names placed
    before where there is room.

    Args:
        boxes: most important first.
        texts: of the same number.
        letters: the font that they will be written in.
        size: width and height of the image.
    """
    taken = np.zeros((0, 4))
    for (x0, y0, x1, y1), text in zip(boxes, texts, strict=True):
        width, height = round(letters.getlength(text)) + 6, sum(letters.getmetrics()) + 2
        left, right = x0 - 1, x1 + 1 - width
        above, top, bottom, below = y0 - 1 - height, y0 - 1, y1 + 1 - height, y1 + 1
        rows = [above, top, below, bottom] if y1 - y0 > 3 * height else [above, below, top, bottom]
        rows = [y for y in rows if 0 <= y <= size[1] - height] or [top]
        spots = np.array([_within(x, y, width, height, size) for y in rows for x in (left, right)])
        taken = np.concatenate([taken, spots[[int(np.argmin(_covered(spots, taken)))]]])
    return [tuple(spot) for spot in taken.astype(int).tolist()]


def _within(x: int, y: int, width: int, height: int, size: tuple[int, int]) -> Corners:
    """A tag's corners, moved into the image."""
    x, y = max(min(x, size[0] - width), 0), max(min(y, size[1] - height), 0)
    return x, y, x + width, y + height


def _covered(spots: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Pixels of each spot (S, 4) that taken ones (T, 4) cover, (S,)."""
    low = np.maximum(spots[:, None, :2], taken[None, :, :2])
    high = np.minimum(spots[:, None, 2:], taken[None, :, 2:])
    return (high - low).clip(min=0).prod(axis=2).sum(axis=1)


def _tag(
    pen: ImageDraw.ImageDraw,
    text: str,
    place: Corners,
    colour: Colour,
    letters: ImageFont.FreeTypeFont,
) -> None:
    x0, y0, x1, y1 = place
    pen.rectangle((x0, y0, x1 - 1, y1 - 1), fill=colour)
    bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 115
    pen.text((x0 + 3, y0 + 1), text, fill=DARK if bright else BRIGHT, font=letters)


def resize_for_display(
    image: np.ndarray, boxes: np.ndarray | Sequence, *, min_side: int, max_side: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Scale an image and its boxes to a size at which labels can be read.

    Args:
        image: (H, W, 3) uint8.
        boxes: (M, 4) pixels; M may be 0.
        min_side: a smaller image is enlarged by a whole factor until its shorter side has so many
            pixels.
        max_side: the longer side has at most so many pixels; None for no bound.

    Returns:
        Image and boxes (M, 4) float64.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    height, width = image.shape[:2]
    factor = float(max(1, -(-min_side // min(height, width))))
    if max_side is not None:
        factor = min(factor, max_side / max(height, width))
    if factor == 1:
        return image, boxes
    size = max(1, round(width * factor)), max(1, round(height * factor))
    scaled = Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(scaled), boxes * factor
