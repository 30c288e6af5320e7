"""The transforms of a config, one after the other."""

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
    """Applies transforms in order, and checks and clips what each of them returns."""

    def __init__(
        self, transforms: Sequence[tuple[str, Transform]], *, num_classes: int | None = None
    ) -> None:
        """
        Args:
            transforms: (name, transform); without any, a sample stays as it is.
            num_classes: K, which labels must stay below; None where it is not known.
        """
        self.transforms, self.num_classes = list(transforms), num_classes

    @classmethod
    def from_config(cls, cfg: Any) -> TransformChain:
        """The transforms that ``MODEL.RETINA_PLUGIN.INPUT.TRANSFORMS`` lists, for
        ``MODEL.RETINANET.NUM_CLASSES``, which may still be -1.

        Raises:
            KeyError: an unknown name.
            ValueError: a value that a transform cannot use; the key is named.
        """
        number = cfg.MODEL.RETINANET.NUM_CLASSES
        return cls(TRANSFORMS.build_all(cfg), num_classes=number if number > 0 else None)

    @property
    def needs_pixels(self) -> bool:
        """Whether one of them cannot work on images without channels."""
        return any(getattr(transform, "needs_pixels", True) for _, transform in self.transforms)

    def __call__(
        self, sample: Sample, rng: np.random.Generator, draw: Draw, *, file_name: str
    ) -> Sample:
        """
        Args:
            sample: of a record.
            rng: from which all chance comes.
            draw: gives samples of other records.
            file_name: of the image, for messages.

        Raises:
            DatasetError: a transform returns something else than a sample; its name and the file
                are given.
        """
        channels = sample["image"].shape[2]
        for name, transform in self.transforms:
            found = transform(sample, rng, draw)
            where = f"transform {name!r}, image {file_name}"
            require_sample(found, channels=channels, num_classes=self.num_classes, where=where)
            sample = clip_boxes(found)
        return sample
