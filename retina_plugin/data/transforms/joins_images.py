"""What Mosaic and MixUp have in common: they add other images to a sample."""

from __future__ import annotations

from collections.abc import Sequence

from retina_plugin.data.transforms.canvas import Colour


class JoinsImages:
    """Base of transforms that add random other images of the data set to a sample."""

    needs_pixels = False
    least_images = 2

    def __init__(
        self,
        *,
        probability: float,
        scale: Sequence[float],
        until: float,
        min_visible: float,
        fill: Colour,
        resizer: str = "pillow",
    ) -> None:
        """
        Args:
            probability: probability that other images are added to a sample.
            scale: smallest and largest size of an image; 1 is the largest size that fits into the
                image of the sample.
            until: share of the steps after which no images are added.
            min_visible: see :func:`retina_plugin.data.transforms.visible.clip_visible`.
            fill: the colour of parts without an image.
            resizer: "pillow" or "torch".
        """
        self.probability, self.scale, self.until = probability, scale, until
        self.min_visible, self.fill, self.resizer = min_visible, fill, resizer
