"""A sample between transforms, and what every transform must keep of it.

Axes: M boxes, H, W.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypedDict

import numpy as np

from retina_plugin.data.errors import DatasetError


class Sample(TypedDict):
    """An image with its objects.

    Attributes:
        image: (H, W, 3) uint8 RGB. A transform must not write into it; it may return a view.
        boxes: (M, 4) float64 XYXY, pixels; M may be 0.
        labels: (M,) int64, contiguous.
    """

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


# A generator -> the untransformed sample of another record, which it chooses.
Draw = Callable[[np.random.Generator], Sample]


class Transform(Protocol):
    """A step from one sample to the next.

    It takes all chance from ``rng``. Boxes may reach outside the image that it returns: they are
    clipped afterwards, and dropped if nothing is left of them, see :func:`clip_boxes`.

    A class with the attribute ``needs_pixels = False`` also takes images without channels (H, W, 0)
    and gives such images, so that boxes can be counted without reading files.
    """

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample: ...


def clip_boxes(sample: Sample) -> Sample:
    """The sample with boxes cut at the borders of its image, without those of which no area is left
    and without their labels."""
    height, width = sample["image"].shape[:2]
    boxes = sample["boxes"].clip(0, [width, height, width, height])
    kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return {**sample, "boxes": boxes[kept], "labels": sample["labels"][kept]}


def require_sample(found: Any, *, channels: int, num_classes: int | None, where: str) -> None:
    """Make sure that a transform has returned a sample.

    Args:
        found: what it returned.
        channels: of the image that went in.
        num_classes: K; None where it is not known.
        where: the transform and the file, for messages.

    Raises:
        DatasetError: it is none; what was expected and found is named.
    """
    if not (isinstance(found, Mapping) and {"image", "boxes", "labels"} <= found.keys()):
        raise DatasetError(
            f"{where}: expected a dict with image, boxes and labels, found {_kind(found)}"
        )
    image, boxes, labels = found["image"], found["boxes"], found["labels"]
    for name, value, dtype, shape, fits in (
        ("image", image, np.uint8, f"(H, W, {channels})", lambda s: _is_image(s, channels)),
        ("boxes", boxes, np.float64, "(M, 4)", lambda s: len(s) == 2 and s[1] == 4),
        ("labels", labels, np.int64, "(M,)", lambda s: len(s) == 1),
    ):
        if not (isinstance(value, np.ndarray) and value.dtype == dtype and fits(value.shape)):
            raise DatasetError(
                f"{where}: expected {name} {shape} {dtype.__name__}, found {_kind(value)}"
            )
    if len(boxes) != len(labels):
        raise DatasetError(
            f"{where}: expected one label for each box, found {len(boxes)} boxes and "
            f"{len(labels)} labels"
        )
    if len(labels) and (labels.min() < 0 or labels.max() >= (num_classes or np.inf)):
        last = f"to {num_classes - 1}" if num_classes else "on"
        raise DatasetError(
            f"{where}: expected labels from 0 {last}, found {sorted(set(labels.tolist()))!r:.200}"
        )
    if not np.isfinite(boxes).all():
        raise DatasetError(f"{where}: expected finite boxes, found {boxes.tolist()!r:.200}")


def _is_image(shape: tuple[int, ...], channels: int) -> bool:
    return len(shape) == 3 and shape[2] == channels and min(shape[:2]) > 0


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.shape} {value.dtype}"
    if isinstance(value, Mapping):
        return f"{type(value).__name__} with {', '.join(map(str, value)) or 'nothing'}"
    return type(value).__name__
