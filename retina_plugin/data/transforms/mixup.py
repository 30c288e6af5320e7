"""MixUp: the mean of two images."""

from __future__ import annotations

import numpy as np

from retina_plugin.data.transforms.canvas import draw_corner, fit, place
from retina_plugin.data.transforms.joins_images import JoinsImages
from retina_plugin.data.transforms.registry import TRANSFORMS, own_keys
from retina_plugin.data.transforms.resize import RESIZER
from retina_plugin.data.transforms.sample import Draw, Sample
from retina_plugin.data.transforms.visible import MIN_VISIBLE, mean_colour


@TRANSFORMS.register(
    reads=own_keys("MixUp") | {"min_visible": MIN_VISIBLE, "fill": mean_colour, "resizer": RESIZER}
)
class MixUp(JoinsImages):
    """Mixes a sample with another random image (Zhang et al., arXiv 1902.04103).

    The weight of the sample is drawn from Beta(32, 32), so it is close to 0.5. The boxes of both
    images are kept, with full weight in the loss. The other image is scaled to a random size and
    placed on a canvas of the mean colour.
    """

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        if rng.random() >= self.probability:
            return sample
        shape = sample["image"].shape[:2]
        scale = rng.uniform(self.scale[0], self.scale[1])
        scaled = fit(draw(rng), shape, scale=scale, resizer=self.resizer)
        corner = draw_corner(scaled["image"].shape[:2], shape, rng)
        other = place(scaled, shape, corner, fill=self.fill, min_visible=self.min_visible)
        return mix(sample, other, share=rng.beta(32, 32))


def mix(sample: Sample, other: Sample, *, share: float) -> Sample:
    """Return the weighted mean of two images of the same shape, with the boxes of both.

    Args:
        sample, other: the samples.
        share: the weight of ``sample``, 0 to 1; it is rounded to a multiple of 1 / 256.
    """
    weight = round(256 * share)
    total = sample["image"].astype(np.uint16) * np.uint16(weight)
    total += other["image"].astype(np.uint16) * np.uint16(256 - weight)
    total += np.uint16(128)  # rounds to the nearest
    return {
        "image": (total >> 8).astype(np.uint8),
        "boxes": np.concatenate([sample["boxes"], other["boxes"]]),
        "labels": np.concatenate([sample["labels"], other["labels"]]),
    }
