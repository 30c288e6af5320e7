"""Random slices of large images, of the size that evaluation uses."""

from __future__ import annotations

import numpy as np

from retina_plugin.data.transforms.crop import crop, draw_object, draw_window
from retina_plugin.data.transforms.registry import TRANSFORMS
from retina_plugin.data.transforms.sample import Draw, Sample
from retina_plugin.data.transforms.visible import clip_visible
from retina_plugin.modeling.views import MIN_INSIDE


@TRANSFORMS.register(
    reads={
        "size": "MODEL.RETINA_PLUGIN.TEST.SLICE.SIZE",
        "with_object": "MODEL.RETINA_PLUGIN.INPUT.RandomSlice.WITH_OBJECT",
        "full_image": "MODEL.RETINA_PLUGIN.INPUT.RandomSlice.FULL_IMAGE",
    }
)
class RandomSlice:
    """Cuts a random slice out of an image that is larger than a slice.

    Boxes of which less than 0.7 is inside the slice are dropped, as for validation losses; other
    boxes are clipped. This transform must come before resizing, because the size of a slice is
    given in pixels of the image file.
    """

    needs_pixels = False

    def __init__(self, *, size: int, with_object: float, full_image: float) -> None:
        """
        Args:
            size: side of a slice in pixels of the image.
            with_object: share of the slices that are placed around a random object.
            full_image: share of the samples that show the whole image.

        Raises:
            ValueError: ``size`` is 0.
        """
        if size == 0:
            raise ValueError(
                "the transform RandomSlice needs a slice size: expected "
                "MODEL.RETINA_PLUGIN.TEST.SLICE.SIZE above 0, found 0. Set it, or remove "
                "RandomSlice from MODEL.RETINA_PLUGIN.INPUT.TRANSFORMS"
            )
        self.size, self.with_object, self.full_image = size, with_object, full_image

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        sides = sample["image"].shape[:2]
        if max(sides) <= self.size or rng.random() < self.full_image:
            return sample
        box = draw_object(sample["boxes"], self.with_object, rng)
        size = (self.size, self.size)
        window = draw_window(sides, kind="absolute", size=size, rng=rng, box=box)
        return clip_visible(crop(sample, window), min_visible=MIN_INSIDE)
