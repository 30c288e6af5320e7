"""Random rotation by multiples of 90 degrees."""

from __future__ import annotations

import numpy as np

from retina_plugin.data.transforms.registry import TRANSFORMS
from retina_plugin.data.transforms.sample import Draw, Sample


@TRANSFORMS.register()
class RandomQuarterTurn:
    """Rotates an image by 0, 90, 180 or 270 degrees, each with probability 0.25.

    Use it for images without a preferred orientation, such as microscope or aerial images. With
    ``RandomFlip`` it gives all eight orientations.
    """

    needs_pixels = False

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        return turn(sample, quarters=int(rng.integers(4)))


def turn(sample: Sample, *, quarters: int) -> Sample:
    """Rotate a sample counterclockwise by ``quarters`` (0 to 3) times 90 degrees."""
    image, boxes = sample["image"], sample["boxes"]
    for _ in range(quarters):
        width = image.shape[1]
        x0, y0, x1, y1 = boxes.T
        image, boxes = np.rot90(image), np.stack([y0, width - x1, y1, width - x0], axis=1)
    return {**sample, "image": image, "boxes": boxes}
