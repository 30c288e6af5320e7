"""Scale jitter: resize by a random factor, then crop or fill to the usual size."""

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
    """Gives images the size of :class:`ResizeShortestEdge`, but their content another scale.

    It replaces ``ResizeShortestEdge`` in a list of transforms. A larger factor shows a random part
    of the image, a smaller one the whole image on a canvas (Ghiasi et al., arXiv 2012.07177). Each
    pixel is resampled once. Every step costs the same, because the size does not change.
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
        if factor > 1:  # crop before resizing: fewer pixels are resampled
            shown = self._place(sample, scaled_shape(found, 1 / factor), rng)
            return resize(shown, shape, resizer=self.resizer)
        small = resize(sample, scaled_shape(shape, factor), resizer=self.resizer)
        return self._place(small, shape, rng)

    def _place(self, sample: Sample, shape: tuple[int, int], rng: np.random.Generator) -> Sample:
        corner = draw_corner(sample["image"].shape[:2], shape, rng)
        return place(sample, shape, corner, fill=self.fill, min_visible=self.min_visible)
