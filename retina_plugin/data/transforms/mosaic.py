"""Mosaic: four images in one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retina_plugin.data.transforms.canvas import draw_corner, fit, place
from retina_plugin.data.transforms.crop import Window
from retina_plugin.data.transforms.joins_images import JoinsImages
from retina_plugin.data.transforms.registry import TRANSFORMS, own_keys
from retina_plugin.data.transforms.resize import RESIZER
from retina_plugin.data.transforms.sample import Draw, Sample
from retina_plugin.data.transforms.visible import MIN_VISIBLE, mean_colour


@TRANSFORMS.register(
    reads=own_keys("Mosaic") | {"min_visible": MIN_VISIBLE, "fill": mean_colour, "resizer": RESIZER}
)
class Mosaic(JoinsImages):
    """Combines four images into one (Bochkovskiy et al., arXiv 2004.10934).

    The four images are the sample and three random records; the mosaic has the size of the sample.
    The corner where its four parts meet lies in its middle half. Each image is scaled to a random
    size. A part shows a random crop of its image if the image is larger than the part, and the
    whole image on the mean colour if it is smaller. A box of which less than ``min_visible`` is
    visible in its part is dropped.
    """

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        height, width = sample["image"].shape[:2]
        if rng.random() >= self.probability or min(height, width) < 2:
            return sample
        tiles = [sample, *(draw(rng) for _ in range(3))]
        windows = draw_windows((height, width), rng)
        order = rng.permutation(4)
        parts = [self._part(tiles[order[k]], windows[k], (height, width), rng) for k in range(4)]
        return join(parts, windows, (height, width))

    def _part(
        self,
        tile: Sample,
        window: Window,
        shape: tuple[int, int],
        rng: np.random.Generator,
    ) -> Sample:
        """Return the sample that a part of the mosaic shows, in coordinates of this part."""
        _, _, height, width = window
        scale = rng.uniform(self.scale[0], self.scale[1])
        scaled = fit(tile, shape, scale=scale, resizer=self.resizer)
        corner = draw_corner(scaled["image"].shape[:2], (height, width), rng)
        return place(scaled, (height, width), corner, fill=self.fill, min_visible=self.min_visible)


def draw_windows(shape: tuple[int, int], rng: np.random.Generator) -> list[Window]:
    """Divide a shape (height, width), at least 2 x 2, into four windows: top left, top right,
    bottom left, bottom right. They meet in its middle half."""
    height, width = shape
    row, column = (
        min(max(round(side * rng.uniform(0.25, 0.75)), 1), side - 1) for side in (height, width)
    )
    return [
        (0, 0, row, column),
        (0, column, row, width - column),
        (row, 0, height - row, column),
        (row, column, height - row, width - column),
    ]


def join(parts: Sequence[Sample], windows: Sequence[Window], shape: tuple[int, int]) -> Sample:
    """Put samples into the windows of one image, which they cover together."""
    image = np.empty((*shape, parts[0]["image"].shape[2]), dtype=np.uint8)
    boxes = []
    for part, (top, left, height, width) in zip(parts, windows, strict=True):
        image[top : top + height, left : left + width] = part["image"]
        boxes.append(part["boxes"] + [left, top, left, top])
    labels = np.concatenate([part["labels"] for part in parts])
    return {"image": image, "boxes": np.concatenate(boxes), "labels": labels}
