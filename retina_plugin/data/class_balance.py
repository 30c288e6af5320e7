"""Choose how often images are used in training, by the frequency of their classes.

Axes: N images, K classes that occur.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from retina_plugin.data.errors import DatasetError

Record = Mapping[str, Any]


def repeat_factors(records: Sequence[Record], *, threshold: float, root: bool) -> Tensor:
    """Return how often each image is used in an epoch, as in Detectron2 and LVIS.

    A class that is in a share f of the images has the factor ``threshold / f``, or its square root,
    but at least 1. The factor of an image is the largest factor of its classes; it is 1 without
    objects (arXiv 1908.03195).

    Args:
        records: the images with "annotations"; crowds are used as objects.
        threshold: ``DATALOADER.REPEAT_THRESHOLD``.
        root: ``DATALOADER.REPEAT_SQRT``, whether to take the square root.

    Returns:
        (N,) float32.
    """
    classes = [_classes(record) for record in records]
    images = Counter(label for found in classes for label in found)
    factors: dict[int, float] = {}
    for label, count in images.items():
        factor = threshold / (count / len(records))
        factors[label] = max(1.0, math.sqrt(factor) if root else factor)
    of_images = [max((factors[label] for label in found), default=1.0) for found in classes]
    return torch.tensor(of_images, dtype=torch.float32)


def class_aware_epoch(records: Sequence[Record]) -> Callable[[int], list[int]]:
    """Return a function from a seed to an epoch of N images with equally frequent classes.

    The epoch goes through the classes in random order, again and again, and takes one image of each
    (Shen et al., arXiv 1512.05830). It goes through the images of a class in the same way, so the
    numbers of uses of two images of a class differ by at most 1. Images without boxes are never
    used. An image with several classes can be taken for each of them.

    Args:
        records: the images with "annotations"; crowds are not used.

    Raises:
        DatasetError: no image has a box.
    """
    of_classes: dict[int, list[int]] = {}
    for index, record in enumerate(records):
        for label in sorted(_classes(record, crowds=False)):
            of_classes.setdefault(label, []).append(index)
    if not of_classes:
        raise DatasetError(
            "DATALOADER.SAMPLER_TRAIN ClassAwareSampler: no training image has a box of a class. "
            "Annotate objects, or use TrainingSampler."
        )
    images = [of_classes[label] for label in sorted(of_classes)]

    def epoch(seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        turns = _in_turn(len(images), len(records), generator)
        counts = Counter(turns)
        chosen = [
            iter([images[k][i] for i in _in_turn(len(images[k]), counts[k], generator)])
            for k in range(len(images))
        ]
        return [next(chosen[k]) for k in turns]

    return epoch


def _in_turn(number: int, count: int, generator: torch.Generator) -> list[int]:
    """Return ``count`` numbers: random permutations of 0..``number`` - 1, one after the other."""
    found: list[int] = []
    while len(found) < count:
        found += torch.randperm(number, generator=generator).tolist()
    return found[:count]


def _classes(record: Record, *, crowds: bool = True) -> set[int]:
    annotations: Iterable[Mapping[str, Any]] = record.get("annotations", ())
    return {a["category_id"] for a in annotations if crowds or not a.get("iscrowd")}
