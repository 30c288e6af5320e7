"""From a file to the network's input: crop, resize and flip as Detectron2 does them, on an image
and its boxes.

Randomness comes from the generator that is passed in, so a sample depends on the seed and its place
in the run and on nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from retina_plugin.modeling.preprocessing import resized_shape

Sample = tuple[np.ndarray, np.ndarray]  # image (H, W, 3) uint8, boxes (M, 4) float64 XYXY pixels


def crop(
    image: np.ndarray, boxes: np.ndarray, *, kind: str, size: list[float], rng: np.random.Generator
) -> Sample:
    """Cut out a random window, see :func:`crop_window`; boxes are clipped to it, those outside end
    with zero size."""
    top, left, height, width = crop_window(image.shape[:2], kind=kind, size=size, rng=rng)
    return image[top : top + height, left : left + width], clip(
        boxes - [left, top, left, top], (height, width)
    )


def crop_window(
    shape: tuple[int, int], *, kind: str, size: list[float], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """A random window (top, left, height, width) of an image of (height, width), at least one pixel
    high and wide.

    Args:
        shape: of the image.
        kind: "relative" (``size`` is a share of height and width), "relative_range" (shares drawn
            between ``size`` and 1), "absolute" (pixels) or "absolute_range" (pixels drawn between
            the two numbers).
        size: two numbers.

    Raises:
        ValueError: an unknown kind.
    """
    height, width = shape
    if kind == "relative":
        window = int(height * size[0] + 0.5), int(width * size[1] + 0.5)
    elif kind == "relative_range":
        shares = np.asarray(size) + rng.random(2) * (1 - np.asarray(size))
        window = int(height * shares[0] + 0.5), int(width * shares[1] + 0.5)
    elif kind == "absolute":
        window = min(int(size[0]), height), min(int(size[1]), width)
    elif kind == "absolute_range":
        low, high = int(size[0]), int(size[1])
        window = tuple(int(rng.integers(min(n, low), min(n, high) + 1)) for n in (height, width))
    else:
        raise ValueError(
            "INPUT.CROP.TYPE must be relative, relative_range, absolute or absolute_range, found "
            f"{kind!r}"
        )
    window = max(window[0], 1), max(window[1], 1)
    return (
        int(rng.integers(height - window[0] + 1)),
        int(rng.integers(width - window[1] + 1)),
        *window,
    )


def resize(image: np.ndarray, boxes: np.ndarray, *, min_size: int, max_size: int) -> Sample:
    """Resize with Pillow's bilinear filter to
    :func:`retina_plugin.modeling.preprocessing.resized_shape`."""
    height, width = image.shape[:2]
    new_height, new_width = resized_shape(height, width, min_size, max_size)
    if (new_height, new_width) != (height, width):
        image = np.asarray(
            Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BILINEAR)
        )
    scale = np.array([new_width / width, new_height / height] * 2)
    return image, clip(boxes * scale, (new_height, new_width))


def flip(image: np.ndarray, boxes: np.ndarray, *, direction: str) -> Sample:
    """Mirror left to right ("horizontal") or upside down ("vertical")."""
    mirrored = image[:, ::-1] if direction == "horizontal" else image[::-1]
    return mirrored, flip_boxes(boxes, image.shape[:2], direction=direction)


def flip_boxes(boxes: np.ndarray, shape: tuple[int, int], *, direction: str) -> np.ndarray:
    """Boxes (M, 4) of an image of (height, width) that is mirrored."""
    height, width = shape
    if direction == "horizontal":
        return np.stack(
            [width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1
        )
    return np.stack([boxes[:, 0], height - boxes[:, 3], boxes[:, 2], height - boxes[:, 1]], axis=1)


def clip(boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Cut boxes at the borders of an image of (height, width)."""
    height, width = shape
    return boxes.clip(0, [width, height, width, height])


def augment(
    image: np.ndarray, boxes: np.ndarray, *, inputs: Any, rng: np.random.Generator
) -> Sample:
    """The training transforms of the ``INPUT`` node of a config, in Detectron2's order: crop,
    resize, flip.

    Raises:
        ValueError: an unknown value of a key; the key is named.
    """
    if inputs.CROP.ENABLED:
        image, boxes = crop(image, boxes, kind=inputs.CROP.TYPE, size=inputs.CROP.SIZE, rng=rng)
    image, boxes = resize(
        image, boxes, min_size=_draw_size(inputs, rng), max_size=inputs.MAX_SIZE_TRAIN
    )
    if _draw_flip(inputs, rng):
        image, boxes = flip(image, boxes, direction=inputs.RANDOM_FLIP)
    return image, boxes


def augment_boxes(
    shape: tuple[int, int], boxes: np.ndarray, *, inputs: Any, rng: np.random.Generator
) -> tuple[tuple[int, int], np.ndarray]:
    """What :func:`augment` makes of an image of (height, width) and its boxes, without its pixels.

    Returns:
        (height, width) of the network's input, and the boxes (M, 4) on it; those that are cropped
        away have zero size.
    """
    if inputs.CROP.ENABLED:
        top, left, *shape = crop_window(
            shape, kind=inputs.CROP.TYPE, size=inputs.CROP.SIZE, rng=rng
        )
        boxes = clip(boxes - [left, top, left, top], shape)
    size = resized_shape(*shape, _draw_size(inputs, rng), inputs.MAX_SIZE_TRAIN)
    boxes = clip(boxes * np.array([size[1] / shape[1], size[0] / shape[0]] * 2), size)
    return size, flip_boxes(boxes, size, direction=inputs.RANDOM_FLIP) if _draw_flip(
        inputs, rng
    ) else boxes


def _draw_flip(inputs: Any, rng: np.random.Generator) -> bool:
    if inputs.RANDOM_FLIP not in ("horizontal", "vertical", "none"):
        raise ValueError(
            f"INPUT.RANDOM_FLIP must be horizontal, vertical or none, found {inputs.RANDOM_FLIP!r}"
        )
    return inputs.RANDOM_FLIP != "none" and rng.random() < 0.5


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
