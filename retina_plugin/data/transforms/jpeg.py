"""Random JPEG compression."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from retina_plugin.data.transforms.registry import TRANSFORMS, own_keys
from retina_plugin.data.transforms.sample import Draw, Sample


@TRANSFORMS.register(reads=own_keys("JPEG"))
class JPEG:
    """Compresses an image as JPEG and decodes it again; boxes stay.

    This uses Pillow. torchvision's v2 transform of this name is slower, and uses a decoder that is
    deprecated since torchvision 0.29.
    """

    needs_pixels = False

    def __init__(self, *, probability: float, quality: Sequence[int]) -> None:
        """
        Args:
            probability: probability that an image is compressed.
            quality: lowest and highest quality, 1 to 100.
        """
        self.probability, self.quality = probability, quality

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        chosen = rng.random() < self.probability
        quality = int(rng.integers(self.quality[0], self.quality[1] + 1))
        image = sample["image"]
        if not chosen or not image.shape[2] or max(image.shape) > 65_500:  # JPEG's limit
            return sample
        return {**sample, "image": compress(image, quality=quality)}


def compress(image: np.ndarray, *, quality: int) -> np.ndarray:
    """Compress an image (H, W, 3) uint8 as JPEG of a quality, and decode it."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))
