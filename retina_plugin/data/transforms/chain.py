"""Apply the transforms of a config one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from retina_plugin.data.transforms.registry import TRANSFORMS
from retina_plugin.data.transforms.sample import (
    Draw,
    Sample,
    Transform,
    clip_boxes,
    require_sample,
)


class TransformChain:
    """Applies transforms in order; checks each result and clips its boxes."""

    def __init__(
        self, transforms: Sequence[tuple[str, Transform]], *, num_classes: int | None = None
    ) -> None:
        """
        Args:
            transforms: (name, transform) pairs; may be empty.
            num_classes: K, for checking labels; None if it is unknown.
        """
        self.transforms, self.num_classes = list(transforms), num_classes

    @classmethod
    def from_config(cls, cfg: Any) -> TransformChain:
        """Build the transforms listed in ``MODEL.RETINA_PLUGIN.INPUT.TRANSFORMS``.

        Raises:
            KeyError: a name is not registered.
            ValueError: a transform cannot use a value of the config.
        """
        number = cfg.MODEL.RETINANET.NUM_CLASSES
        return cls(TRANSFORMS.build_all(cfg), num_classes=number if number > 0 else None)

    @property
    def needs_pixels(self) -> bool:
        """Whether a transform needs pixels, so that images without channels cannot be used."""
        return any(getattr(transform, "needs_pixels", True) for _, transform in self.transforms)

    def __call__(
        self, sample: Sample, rng: np.random.Generator, draw: Draw, *, file_name: str
    ) -> Sample:
        """
        Args:
            sample: the untransformed sample of a record.
            rng: source of all random numbers.
            draw: returns an untransformed sample of another record.
            file_name: the image file, for messages.

        Raises:
            DatasetError: a transform returns an invalid sample.
        """
        channels = sample["image"].shape[2]
        for name, transform in self.transforms:
            result = transform(sample, rng, draw)
            where = f"transform {name!r}, image {file_name}"
            require_sample(result, channels=channels, num_classes=self.num_classes, where=where)
            sample = clip_boxes(result)
        return sample
