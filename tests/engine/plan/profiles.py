"""Profiles of data for tests of plans."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retina_plugin.engine.plan.profile import DataProfile


def profile(
    *,
    image: tuple[int, int] = (480, 640),
    objects: Sequence[Sequence[float]] = ((60.0, 60.0),),
    num_images: int = 100,
    names: Sequence[str] = ("cell",),
) -> DataProfile:
    """Images of one (height, width), each with the same objects, (width, height) of each; their
    classes take turns."""
    per_image = len(objects)
    return DataProfile(
        class_names=tuple(names),
        image_sides=np.tile(np.sort(np.array(image, dtype=float)), (num_images, 1)),
        boxes=np.tile(np.array(objects, dtype=float), (num_images, 1)),
        labels=np.arange(num_images * per_image) % len(names),
        box_images=np.repeat(np.arange(num_images), per_image),
    )
