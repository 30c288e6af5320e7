"""Random changes of the colours of an image."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from retina_plugin.data.transforms.registry import TRANSFORMS, own_keys
from retina_plugin.data.transforms.sample import Draw, Sample

# weights of red, green and blue in the brightness of a colour, ITU-R BT.601
LUMA = np.array([0.299, 0.587, 0.114])
# RGB to YIQ: brightness, and two colour axes; a change of the hue rotates these two
YIQ = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
MEAN_STEP = 4  # the mean colour is computed from every fourth pixel in both directions


@TRANSFORMS.register(reads=own_keys("RandomPhotometricDistort"))
class RandomPhotometricDistort:
    """Changes brightness, contrast, saturation and hue, each with the same probability.

    The changes and their default ranges are those of torchvision's v2 transform of this name, which
    follows SSD (Liu et al., arXiv 1512.02325). There are three differences. All changes are
    combined in one matrix, so values are rounded and clipped only once, and an image of 640 x 480
    pixels takes 2 ms instead of 20. The hue is rotated in YIQ, which keeps the brightness, instead
    of HSV. Channels are not permuted.
    """

    needs_pixels = False

    def __init__(
        self,
        *,
        probability: float,
        brightness: float,
        contrast: float,
        saturation: float,
        hue: float,
    ) -> None:
        """
        Args:
            probability: probability of each change.
            brightness, contrast, saturation: the factor is drawn from 1 - value to 1 + value.
            hue: the rotation is drawn from -value to value, as a fraction of the colour circle.
        """
        self.probability = probability
        self.ranges = np.array([brightness, contrast, saturation, hue])

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        changed = rng.random(4) < self.probability
        factors = rng.uniform(-1, 1, 4) * self.ranges
        if not changed.any() or not sample["image"].shape[2]:
            return sample
        brightness, contrast, saturation, hue = np.where(changed, factors, 0)
        matrix = colour_matrix(
            mean_of(sample["image"]),
            brightness=1 + brightness,
            contrast=1 + contrast,
            saturation=1 + saturation,
            hue=hue,
        )
        return {**sample, "image": change_colours(sample["image"], matrix)}


def mean_of(image: np.ndarray) -> np.ndarray:
    """Return the mean colour (3,) of an image (H, W, 3), from a sixteenth of its pixels."""
    mean: np.ndarray = image[::MEAN_STEP, ::MEAN_STEP].mean(axis=(0, 1))
    return mean


def colour_matrix(
    mean: np.ndarray, *, brightness: float, contrast: float, saturation: float, hue: float
) -> np.ndarray:
    """Return the matrix (3, 4) that maps (R, G, B, 1) to the changed colour.

    Args:
        mean: (3,) the mean colour of the image.
        brightness, contrast, saturation: factors, at least 0; 1 changes nothing. The contrast
            keeps the mean brightness of the image, the saturation keeps that of each pixel.
        hue: fraction of the colour circle, from red towards green; 0 changes nothing.
    """
    saturated = saturation * np.eye(3) + (1 - saturation) * LUMA
    # grey stays grey, so this matrix commutes with the change of the contrast
    colours = _rotation(hue) @ saturated
    offset = np.full((3, 1), (1 - contrast) * brightness * (LUMA @ mean))
    return np.concatenate([contrast * brightness * colours, offset], axis=1)


def _rotation(turn: float) -> np.ndarray:
    """Return the matrix (3, 3) that rotates the hue of RGB colours in YIQ."""
    sin, cos = math.sin(2 * math.pi * turn), math.cos(2 * math.pi * turn)
    rotation = np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])
    turned: np.ndarray = np.linalg.solve(YIQ, rotation @ YIQ)
    return turned


def change_colours(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Apply a matrix (3, 4) to the colours (R, G, B, 1) of an image (H, W, 3) uint8.

    Results are rounded and clipped to 0..255.
    """
    return np.asarray(Image.fromarray(image).convert("RGB", tuple(matrix.ravel().tolist())))
