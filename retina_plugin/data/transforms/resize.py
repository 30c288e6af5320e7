"""Resize images to a random length of the shorter side, as Detectron2 does."""

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
    """Resizes the shorter side to a random size, while the longer one is at most ``max_size``."""

    needs_pixels = False

    def __init__(self, *, sizes: Sequence[int], sampling: str, max_size: int) -> None:
        """
        Args:
            sizes: sizes of the shorter side, pixels.
            sampling: "choice" draws one of ``sizes``, "range" a size between the two ``sizes``.
            max_size: largest size of the longer side, pixels.

        Raises:
            ValueError: ``sampling`` is unknown, or is "range" without two sizes.
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
        height, width = sample["image"].shape[:2]
        shape = resized_shape(height, width, size, self.max_size)
        return resize(sample, shape)


def resize(sample: Sample, shape: tuple[int, int]) -> Sample:
    """Resize the image and boxes of a sample to a shape (height, width)."""
    height, width = sample["image"].shape[:2]
    scale = np.array([shape[1] / width, shape[0] / height] * 2)
    image = resize_image(sample["image"], shape)
    return {**sample, "image": image, "boxes": sample["boxes"] * scale}


def resize_image(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize an image (H, W, 3) uint8 to a shape (height, width) with Pillow's bilinear filter.

    An image (H, W, 0), which has a size but no pixels, is resized as well.
    """
    if image.shape[:2] == tuple(shape):
        return image
    if image.shape[2] == 0:
        return np.empty((*shape, 0), dtype=np.uint8)
    return np.asarray(Image.fromarray(image).resize(shape[::-1], Image.Resampling.BILINEAR))
