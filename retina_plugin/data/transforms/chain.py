"""Apply the transforms of a config one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from retina_plugin.data.errors import DatasetError
from retina_plugin.data.transforms.policies import transform_names
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
        """Build the transforms of a config, see
        :func:`retina_plugin.data.transforms.policies.transform_names`.

        Raises:
            KeyError: a name is not registered.
            ValueError: a transform cannot use a value of the config.
        """
        number = cfg.MODEL.RETINANET.NUM_CLASSES
        transforms = TRANSFORMS.build_all(cfg, transform_names(cfg))
        return cls(transforms, num_classes=number if number > 0 else None)

    @property
    def needs_pixels(self) -> bool:
        """Whether a transform needs pixels, so that images without channels cannot be used."""
        return any(getattr(transform, "needs_pixels", True) for _, transform in self.transforms)

    @property
    def draws_images(self) -> bool:
        """Whether a transform combines images, so that caching decoded images saves time."""
        return any(_least_images(transform) > 1 for _, transform in self.transforms)

    def require_images(self, count: int, *, source: str) -> None:
        """Check that there are enough training images for every transform.

        Args:
            count: the number of images that are used for training.
            source: the data sets, for the message.

        Raises:
            DatasetError: a transform needs more images.
        """
        for name, transform in self.transforms:
            if count < _least_images(transform):
                raise DatasetError(
                    f"{TRANSFORMS.choice_key}: {name} combines {_least_images(transform)} or more "
                    f"images, found {count} in {source} to train on. Add images, or leave {name} "
                    "out: choose another MODEL.RETINA_PLUGIN.INPUT.AUGMENTATION, or list the other "
                    f"transforms in {TRANSFORMS.choice_key}"
                )

    def __call__(
        self,
        sample: Sample,
        rng: np.random.Generator,
        draw: Draw,
        *,
        file_name: str,
        progress: float = 0.0,
    ) -> Sample:
        """
        Args:
            sample: the untransformed sample of a record.
            rng: source of all random numbers.
            draw: returns an untransformed sample of another record.
            file_name: the image file, for messages.
            progress: progress of the run, 0 to 1. A transform with the attribute ``until`` below 1
                is skipped once the progress reaches ``until``.

        Raises:
            DatasetError: a transform returns an invalid sample.
        """
        channels = sample["image"].shape[2]
        for name, transform in self.transforms:
            until = getattr(transform, "until", 1.0)
            if until < 1 and progress >= until:
                continue
            result = transform(sample, rng, draw)
            where = f"transform {name!r}, image {file_name}"
            require_sample(result, channels=channels, num_classes=self.num_classes, where=where)
            sample = clip_boxes(result)
        return sample


def _least_images(transform: Transform) -> int:
    return int(getattr(transform, "least_images", 1))
