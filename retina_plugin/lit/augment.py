"""From a file to the network's input: crop, resize and flip as Detectron2 does them, on an image and its boxes.

Randomness comes from the generator that is passed in, so a sample depends on the seed and its place in the run and on nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from retina_plugin.model import resized_shape

Sample = tuple[np.ndarray, np.ndarray]  # image (H, W, 3) uint8, boxes (M, 4) float64 XYXY pixels


def crop(image: np.ndarray, boxes: np.ndarray, *, kind: str, size: list[float], rng: np.random.Generator) -> Sample:
    """Cut out a random window; boxes are clipped to it, those outside end with zero size.

    Args:
        kind: "relative" (``size`` is a share of height and width), "relative_range" (shares drawn between ``size`` and 1), "absolute"
            (pixels) or "absolute_range" (pixels drawn between the two numbers).
        size: two numbers.

    Raises:
        ValueError: an unknown kind.
    """
    height, width = image.shape[:2]
    if kind == "relative":
        shape = int(height * size[0] + 0.5), int(width * size[1] + 0.5)
    elif kind == "relative_range":
        shares = np.asarray(size) + rng.random(2) * (1 - np.asarray(size))
        shape = int(height * shares[0] + 0.5), int(width * shares[1] + 0.5)
    elif kind == "absolute":
        shape = min(int(size[0]), height), min(int(size[1]), width)
    elif kind == "absolute_range":
        low, high = int(size[0]), int(size[1])
        shape = tuple(int(rng.integers(min(n, low), min(n, high) + 1)) for n in (height, width))
    else:
        raise ValueError(
            f"INPUT.CROP.TYPE must be relative, relative_range, absolute or absolute_range, found {kind!r}"
        )
    shape = max(shape[0], 1), max(shape[1], 1)
    top, left = int(rng.integers(height - shape[0] + 1)), int(rng.integers(width - shape[1] + 1))
    return image[top : top + shape[0], left : left + shape[1]], clip(boxes - [left, top, left, top], shape)


def resize(image: np.ndarray, boxes: np.ndarray, *, min_size: int, max_size: int) -> Sample:
    """Resize with Pillow's bilinear filter to :func:`retina_plugin.model.resized_shape`."""
    height, width = image.shape[:2]
    new_height, new_width = resized_shape(height, width, min_size, max_size)
    if (new_height, new_width) != (height, width):
        image = np.asarray(Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BILINEAR))
    scale = np.array([new_width / width, new_height / height] * 2)
    return image, clip(boxes * scale, (new_height, new_width))


def flip(image: np.ndarray, boxes: np.ndarray, *, direction: str) -> Sample:
    """Mirror left to right ("horizontal") or upside down ("vertical")."""
    height, width = image.shape[:2]
    if direction == "horizontal":
        return image[:, ::-1], np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
    return image[::-1], np.stack([boxes[:, 0], height - boxes[:, 3], boxes[:, 2], height - boxes[:, 1]], axis=1)


def clip(boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Cut boxes at the borders of an image of (height, width)."""
    height, width = shape
    return boxes.clip(0, [width, height, width, height])


def augment(image: np.ndarray, boxes: np.ndarray, *, inputs: Any, rng: np.random.Generator) -> Sample:
    """The training transforms of the ``INPUT`` node of a config, in Detectron2's order: crop, resize, flip.

    Raises:
        ValueError: an unknown value of a key; the key is named.
    """
    if inputs.CROP.ENABLED:
        image, boxes = crop(image, boxes, kind=inputs.CROP.TYPE, size=inputs.CROP.SIZE, rng=rng)
    image, boxes = resize(image, boxes, min_size=_draw_size(inputs, rng), max_size=inputs.MAX_SIZE_TRAIN)
    if inputs.RANDOM_FLIP not in ("horizontal", "vertical", "none"):
        raise ValueError(f"INPUT.RANDOM_FLIP must be horizontal, vertical or none, found {inputs.RANDOM_FLIP!r}")
    if inputs.RANDOM_FLIP != "none" and rng.random() < 0.5:
        image, boxes = flip(image, boxes, direction=inputs.RANDOM_FLIP)
    return image, boxes


def _draw_size(inputs: Any, rng: np.random.Generator) -> int:
    sizes = inputs.MIN_SIZE_TRAIN
    if inputs.MIN_SIZE_TRAIN_SAMPLING == "choice":
        return int(rng.choice(sizes))
    if inputs.MIN_SIZE_TRAIN_SAMPLING == "range" and len(sizes) == 2:
        return int(rng.integers(sizes[0], sizes[1] + 1))
    raise ValueError(
        "INPUT.MIN_SIZE_TRAIN_SAMPLING must be choice, or range with two MIN_SIZE_TRAIN, "
        f"found {inputs.MIN_SIZE_TRAIN_SAMPLING!r} with {sizes}"
    )
