"""Random erasing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from retina_plugin.data.transforms.crop import Window
from retina_plugin.data.transforms.registry import TRANSFORMS, own_keys
from retina_plugin.data.transforms.sample import Draw, Sample
from retina_plugin.data.transforms.visible import MIN_VISIBLE, areas, keep_visible, mean_colour


@TRANSFORMS.register(
    reads=own_keys("RandomErasing") | {"min_visible": MIN_VISIBLE, "fill": mean_colour}
)
class RandomErasing:
    """Fills a random rectangle with the mean colour (Zhong et al., arXiv 1708.04896).

    The aspect ratio of the rectangle is from 0.3 to 3.3, as in torchvision's v2 transform. A box
    whose visible share falls below ``min_visible`` is dropped; other boxes do not change.
    """

    needs_pixels = False

    def __init__(
        self,
        *,
        probability: float,
        scale: Sequence[float],
        min_visible: float,
        fill: tuple[int, int, int],
    ) -> None:
        """
        Args:
            probability: probability that a part of an image is erased.
            scale: smallest and largest erased share of the image.
            min_visible: see :func:`retina_plugin.data.transforms.visible.keep_visible`.
            fill: the colour of the rectangle, RGB.
        """
        self.probability, self.scale = probability, scale
        self.min_visible, self.fill = min_visible, fill

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        height, width = sample["image"].shape[:2]
        chosen, share = rng.random() < self.probability, rng.uniform(self.scale[0], self.scale[1])
        ratio = math.exp(rng.uniform(math.log(0.3), math.log(3.3)))  # height / width
        sides = math.sqrt(share * height * width * ratio), math.sqrt(share * height * width / ratio)
        erased = min(round(sides[0]), height), min(round(sides[1]), width)
        top = int(rng.integers(height - erased[0] + 1))
        left = int(rng.integers(width - erased[1] + 1))
        if not chosen:
            return sample
        return erase(sample, (top, left, *erased), min_visible=self.min_visible, fill=self.fill)


def erase(
    sample: Sample, window: Window, *, min_visible: float, fill: tuple[int, int, int]
) -> Sample:
    """Fill a window (top, left, height, width) inside the image with a colour; see
    :class:`RandomErasing`."""
    top, left, height, width = window
    image, boxes = sample["image"].copy(), sample["boxes"]
    if image.shape[2]:
        image[top : top + height, left : left + width] = fill
    limits = [left, top, left + width, top + height]
    hidden = areas(boxes.clip(np.tile(limits[:2], 2), np.tile(limits[2:], 2)))
    visible = areas(boxes) - hidden
    return keep_visible({**sample, "image": image}, visible, min_visible=min_visible)
