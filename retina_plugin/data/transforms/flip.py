"""Random flip."""

from __future__ import annotations

import numpy as np

from retina_plugin.data.transforms.registry import TRANSFORMS
from retina_plugin.data.transforms.sample import Draw, Sample


@TRANSFORMS.register(reads={"direction": "INPUT.RANDOM_FLIP"})
class RandomFlip:
    """Flips an image with probability 0.5."""

    needs_pixels = False

    def __init__(self, *, direction: str) -> None:
        """
        Args:
            direction: "horizontal", "vertical" or "none".

        Raises:
            ValueError: ``direction`` is unknown.
        """
        if direction not in ("horizontal", "vertical", "none"):
            raise ValueError(
                f"INPUT.RANDOM_FLIP must be horizontal, vertical or none, found {direction!r}"
            )
        self.direction = direction

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        if self.direction == "none" or rng.random() >= 0.5:
            return sample
        return flip(sample, direction=self.direction)


def flip(sample: Sample, *, direction: str) -> Sample:
    """Flip a sample from left to right ("horizontal") or upside down ("vertical")."""
    image, (x0, y0, x1, y1) = sample["image"], sample["boxes"].T
    height, width = image.shape[:2]
    if direction == "horizontal":
        image, sides = image[:, ::-1], [width - x1, y0, width - x0, y1]
    else:
        image, sides = image[::-1], [x0, height - y1, x1, height - y0]
    return {**sample, "image": image, "boxes": np.stack(sides, axis=1)}
