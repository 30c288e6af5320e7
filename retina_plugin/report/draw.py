"""Draw boxes with class names and scores on an image."""

from __future__ import annotations

import colorsys
import functools
import os
from collections.abc import Sequence

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Corners = tuple[int, int, int, int]  # x0, y0, x1, y1; x1 and y1 are exclusive

DARK, BRIGHT = (0, 0, 0), (255, 255, 255)
# colours of the first classes, chosen to be easy to distinguish, by brightness too
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
    """Return the colour of a class: one of the palette, or a generated one for further classes."""
    if label < len(PALETTE):
        return PALETTE[label]
    # multiples of the golden ratio are spread evenly over the hues
    hue = (label * 0.61803398875) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(
        hue, 0.6 if label % 2 else 0.95, 1.0 if label % 3 else 0.75
    )
    return round(red * 255), round(green * 255), round(blue * 255)


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return the font DejaVu Sans from matplotlib, which covers most alphabets."""
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
    """Draw boxes on a copy of an image; line width and font size grow with the image.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (M, 4) XYXY pixels; M may be 0.
        labels: (M,) in [0, K).
        class_names: K names.
        scores: (M,) in [0, 1], shown in percent; boxes with high scores are drawn on top.
        crowd: (M,) True for crowd regions; their text ends with "(crowd)".

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
    canvas = Image.fromarray(np.ascontiguousarray(image))
    drawing = ImageDraw.Draw(canvas)
    corners = [_corners(box) for box in boxes]
    texts = [class_names[int(label)] for label in labels]
    if scores is not None:
        texts = [f"{text} {score:.0%}" for text, score in zip(texts, scores, strict=True)]
    if crowd is not None:
        texts = [
            f"{text} (crowd)" if is_crowd else text
            for text, is_crowd in zip(texts, crowd, strict=True)
        ]
    best_first = list(
        range(len(boxes)) if scores is None else np.argsort(-np.asarray(scores), kind="stable")
    )
    text_font = font(max(12, round(min(canvas.size) / 45)))
    places = place_tags(
        [corners[i] for i in best_first], [texts[i] for i in best_first], text_font, canvas.size
    )
    for i in reversed(best_first):
        _draw_rectangle(
            drawing,
            corners[i],
            class_colour(int(labels[i])),
            width=max(2, round(min(canvas.size) / 250)),
        )
    # text is drawn after all lines, which would cover it
    for i, place in reversed(list(zip(best_first, places, strict=True))):
        _draw_tag(drawing, texts[i], place, class_colour(int(labels[i])), text_font)
    return np.asarray(canvas)


def _corners(box: Sequence[float] | np.ndarray) -> Corners:
    """Round a box to whole pixels; it is at least one pixel wide and high."""
    x0, y0, x1, y1 = (round(float(v)) for v in box)
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def _draw_rectangle(
    drawing: ImageDraw.ImageDraw, corners: Corners, colour: Colour, *, width: int
) -> None:
    """Draw a coloured line inside the box and a dark one around it, to be visible on any image."""
    x0, y0, x1, y1 = corners
    drawing.rectangle((x0 - 1, y0 - 1, x1, y1), outline=DARK)
    drawing.rectangle((x0, y0, x1 - 1, y1 - 1), outline=colour, width=width)


def place_tags(
    boxes: Sequence[Corners],
    texts: Sequence[str],
    text_font: ImageFont.FreeTypeFont,
    size: tuple[int, int],
) -> list[Corners]:
    """Choose the position of each box's text: near its box, inside the image, and if possible
    without covering earlier texts.

    Args:
        boxes: M boxes, the most important first.
        texts: M texts.
        text_font: the font of the texts.
        size: (width, height) of the image.

    Returns:
        M rectangles for the texts.
    """
    placed = np.zeros((0, 4))
    for (x0, y0, x1, y1), text in zip(boxes, texts, strict=True):
        width, height = round(text_font.getlength(text)) + 6, sum(text_font.getmetrics()) + 2
        left, right = x0 - 1, x1 + 1 - width
        above, top, bottom, below = y0 - 1 - height, y0 - 1, y1 + 1 - height, y1 + 1
        rows = [above, top, below, bottom] if y1 - y0 > 3 * height else [above, below, top, bottom]
        rows = [y for y in rows if 0 <= y <= size[1] - height] or [top]
        candidates = np.array(
            [_shift_inside(x, y, width, height, size) for y in rows for x in (left, right)]
        )
        best = int(np.argmin(_overlap_areas(candidates, placed)))
        placed = np.concatenate([placed, candidates[[best]]])
    return [(int(x0), int(y0), int(x1), int(y1)) for x0, y0, x1, y1 in placed]


def _shift_inside(x: int, y: int, width: int, height: int, size: tuple[int, int]) -> Corners:
    """Return a tag's rectangle, shifted into the image."""
    x, y = max(min(x, size[0] - width), 0), max(min(y, size[1] - height), 0)
    return x, y, x + width, y + height


def _overlap_areas(candidates: np.ndarray, placed: np.ndarray) -> np.ndarray:
    """Return the area (S,) of each candidate (S, 4) that placed tags (T, 4) cover."""
    low = np.maximum(candidates[:, None, :2], placed[None, :, :2])
    high = np.minimum(candidates[:, None, 2:], placed[None, :, 2:])
    areas: np.ndarray = (high - low).clip(min=0).prod(axis=2).sum(axis=1)
    return areas


def _draw_tag(
    drawing: ImageDraw.ImageDraw,
    text: str,
    place: Corners,
    colour: Colour,
    text_font: ImageFont.FreeTypeFont,
) -> None:
    x0, y0, x1, y1 = place
    drawing.rectangle((x0, y0, x1 - 1, y1 - 1), fill=colour)
    bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 115
    drawing.text((x0 + 3, y0 + 1), text, fill=DARK if bright else BRIGHT, font=text_font)


def resize_for_display(
    image: np.ndarray,
    boxes: np.ndarray | Sequence[Sequence[float]],
    *,
    min_side: int,
    max_side: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Resize an image and its boxes so that labels are readable.

    Args:
        image: (H, W, 3) uint8.
        boxes: (M, 4) pixels; M may be 0.
        min_side: images with a shorter side below this number of pixels are enlarged by a whole
            factor.
        max_side: the longer side has at most this number of pixels; None for no limit.

    Returns:
        Resized image (H', W', 3) uint8 and boxes (M, 4) float64.
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
