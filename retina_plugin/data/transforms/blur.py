"""Random blur."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from retina_plugin.data.transforms.registry import TRANSFORMS, own_keys
from retina_plugin.data.transforms.sample import Draw, Sample


@TRANSFORMS.register(reads=own_keys("GaussianBlur"))
class GaussianBlur:
    """Blurs an image with torchvision's v2 ``gaussian_blur``; boxes stay."""

    needs_pixels = False

    def __init__(self, *, probability: float, sigma: Sequence[float]) -> None:
        """
        Args:
            probability: probability that an image is blurred.
            sigma: smallest and largest standard deviation, pixels.
        """
        self.probability, self.sigma = probability, sigma

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        chosen, sigma = rng.random() < self.probability, rng.uniform(self.sigma[0], self.sigma[1])
        if not chosen or not sample["image"].shape[2]:
            return sample
        return {**sample, "image": blur(sample["image"], sigma=sigma)}


def blur(image: np.ndarray, *, sigma: float) -> np.ndarray:
    """Blur an image (H, W, 3) uint8.

    The kernel has a radius of three standard deviations. It is smaller for small images, because
    mirrored padding must be narrower than the image.
    """
    from torchvision.transforms.v2.functional import gaussian_blur  # slow to import

    radii = [min(math.ceil(3 * sigma), side - 1) for side in image.shape[1::-1]]
    size = [2 * radius + 1 for radius in radii]
    pixels = torch.from_numpy(np.array(image.transpose(2, 0, 1), order="C"))
    blurred: np.ndarray = gaussian_blur(pixels, size, [sigma, sigma]).numpy().transpose(1, 2, 0)
    return blurred
