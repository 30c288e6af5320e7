"""Random zoom out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retina_plugin.data.transforms.canvas import Colour, draw_corner, place
from retina_plugin.data.transforms.registry import TRANSFORMS, own_keys
from retina_plugin.data.transforms.resize import RESIZER, resize, scaled_shape
from retina_plugin.data.transforms.sample import Draw, Sample
from retina_plugin.data.transforms.visible import mean_colour


@TRANSFORMS.register(reads=own_keys("RandomZoomOut") | {"fill": mean_colour, "resizer": RESIZER})
class RandomZoomOut:
    """Shrinks an image and places it on a canvas of the original size (SSD, arXiv 1512.02325).

    torchvision's v2 transform of this name keeps the size of the image and enlarges the canvas.
    After resizing to the same size, the result looks the same, but later transforms work on more
    pixels.
    """

    needs_pixels = False

    def __init__(
        self,
        *,
        probability: float,
        side_range: Sequence[float],
        fill: Colour,
        resizer: str = "pillow",
    ) -> None:
        """
        Args:
            probability: probability that an image is shrunk.
            side_range: smallest and largest side of the canvas, as multiples of the side of the
                shrunk image.
            fill: the colour of the canvas, RGB.
            resizer: "pillow" or "torch".
        """
        self.probability, self.side_range = probability, side_range
        self.fill, self.resizer = fill, resizer

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        chosen, ratio = (
            rng.random() < self.probability,
            rng.uniform(self.side_range[0], self.side_range[1]),
        )
        shape = sample["image"].shape[:2]
        shrunk = scaled_shape(shape, 1 / ratio)
        corner = draw_corner(shrunk, shape, rng)
        if not chosen:
            return sample
        small = resize(sample, shrunk, resizer=self.resizer)
        return place(small, shape, corner, fill=self.fill, min_visible=0.0)
