"""Resizing by the shorter side, as Detectron2 does it; in training to a random size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from retina_plugin.data.transforms.registry import TRANSFORMS
from retina_plugin.data.transforms.sample import Draw, Sample
from retina_plugin.modeling.preprocessing import resized_shape


@TRANSFORMS.register(
    reads={
        "sizes": "INPUT.MIN_SIZE_TRAIN",
        "sampling": "INPUT.MIN_SIZE_TRAIN_SAMPLING",
        "max_size": "INPUT.MAX_SIZE_TRAIN",
    }
)
class ResizeShortestEdge:
    """Give the shorter side a random size, the longer one at most ``max_size``."""

    needs_pixels = False

    def __init__(self, *, sizes: Sequence[int], sampling: str, max_size: int) -> None:
        """
        Args:
            sizes: of the shorter side, in pixels.
            sampling: "choice" of one of ``sizes``, or "range" between two.
            max_size: of the longer side, in pixels.

        Raises:
            ValueError: another way of sampling, or a range without two sizes.
        """
        if sampling != "choice" and (sampling != "range" or len(sizes) != 2):
            raise ValueError(
                "INPUT.MIN_SIZE_TRAIN_SAMPLING must be choice, or range with two MIN_SIZE_TRAIN, "
                f"found {sampling!r} with {sizes}"
            )
        self.sizes, self.sampling, self.max_size = sizes, sampling, max_size

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        if self.sampling == "choice":
            size = int(rng.choice(self.sizes))
        else:
            size = int(rng.integers(self.sizes[0], self.sizes[1] + 1))
        shape = resized_shape(*sample["image"].shape[:2], size, self.max_size)
        return resize(sample, shape)


def resize(sample: Sample, shape: tuple[int, int]) -> Sample:
    """The sample with an image of (height, width)."""
    height, width = sample["image"].shape[:2]
    scale = np.array([shape[1] / width, shape[0] / height] * 2)
    image = resize_image(sample["image"], shape)
    return {**sample, "image": image, "boxes": sample["boxes"] * scale}


def resize_image(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """An image (H, W, C) of (height, width), by Pillow's bilinear filter; C is 3, or 0 for a size
    without pixels."""
    if image.shape[:2] == tuple(shape):
        return image
    if image.shape[2] == 0:
        return np.empty((*shape, 0), dtype=np.uint8)
    return np.asarray(Image.fromarray(image).resize(shape[::-1], Image.Resampling.BILINEAR))
