"""The sample that transforms take and return, and its checks.

Axes: M boxes; height H and width W of the image.
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


# returns the untransformed sample of a random other record
Draw = Callable[[np.random.Generator], Sample]


class Transform(Protocol):
    """The interface of a transform.

    All random numbers must come from ``rng``. Returned boxes may reach outside the image:
    :func:`clip_boxes` then clips them and drops boxes without area. ``draw`` returns the
    untransformed sample of another record.

    A class may have these attributes:

    - ``needs_pixels = False``: it also accepts images without channels (H, W, 0) and returns such
      images, so boxes can be counted without reading files.
    - ``least_images = 2``: it combines images. Training sets with fewer images are refused, and
      decoded images are cached for its ``draw``.
    - ``until = 0.9``: it is switched off for the last tenth of the steps.
    """

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample: ...


def clip_boxes(sample: Sample) -> Sample:
    """Clip boxes to the image; remove boxes without area, and their labels."""
    height, width = sample["image"].shape[:2]
    boxes = sample["boxes"].clip(0, [width, height, width, height])
    kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return {**sample, "boxes": boxes[kept], "labels": sample["labels"][kept]}


def require_sample(found: Any, *, channels: int, num_classes: int | None, where: str) -> None:
    """Check the value that a transform returned.

    Args:
        found: the returned value.
        channels: number of channels that the image must have.
        num_classes: K; None if it is unknown.
        where: the transform and the file, for messages.

    Raises:
        DatasetError: the value is not a valid sample.
    """
    if not (isinstance(found, Mapping) and {"image", "boxes", "labels"} <= found.keys()):
        raise DatasetError(
            f"{where}: expected a dict with image, boxes and labels, found {_describe(found)}"
        )
    image, boxes, labels = found["image"], found["boxes"], found["labels"]
    for name, value, dtype, shape, is_valid in (
        ("image", image, np.uint8, f"(H, W, {channels})", lambda s: _is_image(s, channels)),
        ("boxes", boxes, np.float64, "(M, 4)", lambda s: len(s) == 2 and s[1] == 4),
        ("labels", labels, np.int64, "(M,)", lambda s: len(s) == 1),
    ):
        if not (isinstance(value, np.ndarray) and value.dtype == dtype and is_valid(value.shape)):
            raise DatasetError(
                f"{where}: expected {name} {shape} {dtype.__name__}, found {_describe(value)}"
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


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.shape} {value.dtype}"
    if isinstance(value, Mapping):
        return f"{type(value).__name__} with {', '.join(map(str, value)) or 'nothing'}"
    return type(value).__name__
