"""Scale jitter: resize by a random factor, then crop or pad to the usual size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retina_plugin.data.transforms.canvas import Colour, draw_corner, place
from retina_plugin.data.transforms.registry import TRANSFORMS, own_keys
from retina_plugin.data.transforms.resize import ResizeShortestEdge, resize, scaled_shape
from retina_plugin.data.transforms.sample import Draw, Sample
from retina_plugin.data.transforms.visible import MIN_VISIBLE, mean_colour


@TRANSFORMS.register(
    reads=own_keys("ScaleJitter") | {"min_visible": MIN_VISIBLE, "fill": mean_colour}
)
class ScaleJitter(ResizeShortestEdge):
    """Resizes like :class:`ResizeShortestEdge`, and scales the content by a random factor.

    It replaces ``ResizeShortestEdge`` in a list of transforms. With a factor above 1, the result
    shows a random part of the image; with a smaller one, the whole image on a canvas (Ghiasi et
    al., arXiv 2012.07177). The image is resampled only once. The size of the result does not depend
    on the factor, so neither does the time of a training step.
    """

    def __init__(
        self,
        *,
        sizes: Sequence[int],
        sampling: str,
        max_size: int,
        scale_range: Sequence[float],
        min_visible: float,
        fill: Colour,
        resizer: str = "pillow",
    ) -> None:
        """
        Args:
            sizes, sampling, max_size, resizer: see :class:`ResizeShortestEdge`.
            scale_range: smallest and largest factor.
            min_visible: see :func:`retina_plugin.data.transforms.visible.clip_visible`.
            fill: the colour of the canvas.
        """
        super().__init__(sizes=sizes, sampling=sampling, max_size=max_size, resizer=resizer)
        self.scale_range, self.min_visible, self.fill = scale_range, min_visible, fill

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        found = sample["image"].shape[:2]
        shape, factor = (
            self.draw_shape(found, rng),
            rng.uniform(self.scale_range[0], self.scale_range[1]),
        )
        if factor > 1:  # crop first, so that fewer pixels are resampled
            shown = self._place(sample, scaled_shape(found, 1 / factor), rng)
            return resize(shown, shape, resizer=self.resizer)
        small = resize(sample, scaled_shape(shape, factor), resizer=self.resizer)
        return self._place(small, shape, rng)

    def _place(self, sample: Sample, shape: tuple[int, int], rng: np.random.Generator) -> Sample:
        corner = draw_corner(sample["image"].shape[:2], shape, rng)
        return place(sample, shape, corner, fill=self.fill, min_visible=self.min_visible)
