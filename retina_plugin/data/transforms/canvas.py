"""Place an image on a canvas of another size: crop what lies outside, and fill what is empty.

Axes: H, W.
"""

from __future__ import annotations

import numpy as np

from retina_plugin.data.transforms.resize import resize
from retina_plugin.data.transforms.sample import Sample
from retina_plugin.data.transforms.visible import clip_visible
from retina_plugin.modeling.preprocessing import resized_shape

Colour = tuple[int, int, int]  # RGB


def empty_canvas(shape: tuple[int, int], *, channels: int, fill: Colour) -> np.ndarray:
    """Return an image (H, W, channels) uint8 of one colour; ``channels`` is 3 or 0."""
    canvas = np.empty((*shape, channels), dtype=np.uint8)
    if channels:
        canvas[:] = fill
    return canvas


def fit(sample: Sample, shape: tuple[int, int], *, scale: float, resizer: str) -> Sample:
    """Resize a sample to the largest size that fits into ``scale`` times a shape (height, width).

    The aspect ratio is kept. The shape is turned to the orientation of the image, so portrait and
    landscape images get the same size.
    """
    shorter, longer = (max(round(side * scale), 1) for side in sorted(shape))
    height, width = sample["image"].shape[:2]
    fitting = resized_shape(height, width, shorter, longer)
    return resize(sample, fitting, resizer=resizer)


def draw_corner(
    inner: tuple[int, int], outer: tuple[int, int], rng: np.random.Generator
) -> tuple[int, int]:
    """Draw where the top left corner of an image lies on a canvas.

    In each direction, a smaller image lies inside the canvas, and a larger one covers it.

    Args:
        inner: (height, width) of the image.
        outer: (height, width) of the canvas.
        rng: source of the random numbers.

    Returns:
        (top, left), pixels; negative if the image is larger.
    """
    free = [int(outside) - int(inside) for inside, outside in zip(inner, outer, strict=True)]
    top, left = (int(rng.integers(min(room, 0), max(room, 0) + 1)) for room in free)
    return top, left


def place(
    sample: Sample,
    shape: tuple[int, int],
    corner: tuple[int, int],
    *,
    fill: Colour,
    min_visible: float,
) -> Sample:
    """Return the sample on a canvas.

    Args:
        sample: a sample. Its image may be larger or smaller than the canvas, and may have no
            channels.
        shape: (height, width) of the canvas.
        corner: (top, left) of the image on the canvas; may be negative.
        fill: the colour of the rest of the canvas.
        min_visible: see :func:`retina_plugin.data.transforms.visible.clip_visible`.
    """
    image, (height, width), (top, left) = sample["image"], shape, corner
    rows = slice(max(-top, 0), max(height - top, 0))
    columns = slice(max(-left, 0), max(width - left, 0))
    inside = image[rows, columns]
    if inside.shape[:2] != tuple(shape):
        canvas = empty_canvas(shape, channels=image.shape[2], fill=fill)
        top_inside, left_inside = max(top, 0), max(left, 0)
        canvas[
            top_inside : top_inside + inside.shape[0], left_inside : left_inside + inside.shape[1]
        ] = inside
        inside = canvas
    placed: Sample = {
        **sample,
        "image": inside,
        "boxes": sample["boxes"] + [left, top, left, top],
    }
    return clip_visible(placed, min_visible=min_visible)
