"""Random crop, with Detectron2's types of crop sizes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retina_plugin.data.transforms.registry import TRANSFORMS
from retina_plugin.data.transforms.sample import Draw, Sample

KINDS = ("relative", "relative_range", "absolute", "absolute_range")
Window = tuple[int, int, int, int]  # top, left, height, width


@TRANSFORMS.register(
    reads={
        "enabled": "INPUT.CROP.ENABLED",
        "kind": "INPUT.CROP.TYPE",
        "size": "INPUT.CROP.SIZE",
        "with_object": "MODEL.RETINA_PLUGIN.INPUT.RandomCrop.WITH_OBJECT",
    }
)
class RandomCrop:
    """Crops a random window, see :func:`draw_window`."""

    needs_pixels = False

    def __init__(
        self, *, enabled: bool, kind: str, size: Sequence[float], with_object: float = 0.0
    ) -> None:
        """
        Args:
            enabled: whether to crop.
            kind, size: see :func:`draw_window`.
            with_object: share of the windows that are placed around a random object; the others are
                placed anywhere.

        Raises:
            ValueError: ``kind`` is unknown.
        """
        if kind not in KINDS:
            raise ValueError(
                "INPUT.CROP.TYPE must be relative, relative_range, absolute or absolute_range, "
                f"found {kind!r}"
            )
        self.enabled, self.kind, self.size = enabled, kind, size
        self.with_object = with_object

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        if not self.enabled:
            return sample
        box = draw_object(sample["boxes"], self.with_object, rng) if self.with_object else None
        shape = sample["image"].shape[:2]
        return crop(sample, draw_window(shape, kind=self.kind, size=self.size, rng=rng, box=box))


def crop(sample: Sample, window: Window) -> Sample:
    """Crop a sample to a window; boxes are shifted but not clipped."""
    top, left, height, width = window
    return {
        **sample,
        "image": sample["image"][top : top + height, left : left + width],
        "boxes": sample["boxes"] - [left, top, left, top],
    }


def draw_object(boxes: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray | None:
    """Return a random box for a window, or None for a window anywhere.

    Args:
        boxes: (M, 4) XYXY.
        share: how often a box is drawn; if M is 0, none is.
        rng: source of the random numbers.
    """
    if rng.random() < share and len(boxes):
        found: np.ndarray = boxes[rng.integers(len(boxes))]
        return found
    return None


def draw_start(
    rng: np.random.Generator, side: int, size: int, span: tuple[float, float] | None
) -> int:
    """Draw the first pixel of a window along one side of an image.

    Args:
        rng: source of the random number.
        side: length of the side of the image.
        size: length of the window.
        span: first and last coordinate of an object. The window contains the object, or lies
            inside it if the object is longer. None draws from all positions.
    """
    last = max(side - size, 0)
    low, high = 0, last
    if span is not None:
        ends = sorted((int(np.ceil(span[1])) - size, int(span[0])))
        low, high = (min(max(end, 0), last) for end in ends)
    return int(rng.integers(low, high + 1))


def draw_window(
    shape: tuple[int, int],
    *,
    kind: str,
    size: Sequence[float],
    rng: np.random.Generator,
    box: np.ndarray | None = None,
) -> Window:
    """Draw a random window inside an image; it is at least one pixel high and wide.

    Args:
        shape: (height, width) of the image.
        kind: "relative" (``size`` is a fraction of height and of width), "relative_range"
            (fractions are drawn between ``size`` and 1), "absolute" (``size`` is height and width
            in pixels) or "absolute_range" (height and width are drawn between the two numbers).
        size: two numbers.
        rng: source of the random numbers.
        box: (4,) XYXY; the window contains it, or lies inside it in each direction in which the box
            is longer. None for a window anywhere.
    """
    height, width = shape
    if kind == "relative":
        window = int(height * size[0] + 0.5), int(width * size[1] + 0.5)
    elif kind == "relative_range":
        fractions = np.asarray(size) + rng.random(2) * (1 - np.asarray(size))
        window = int(height * fractions[0] + 0.5), int(width * fractions[1] + 0.5)
    elif kind == "absolute":
        window = min(int(size[0]), height), min(int(size[1]), width)
    else:
        low, high = int(size[0]), int(size[1])
        cropped_height = int(rng.integers(min(height, low), min(height, high) + 1))
        window = cropped_height, int(rng.integers(min(width, low), min(width, high) + 1))
    window = max(window[0], 1), max(window[1], 1)
    rows, columns = (None, None) if box is None else ((box[1], box[3]), (box[0], box[2]))
    top = draw_start(rng, height, window[0], rows)
    left = draw_start(rng, width, window[1], columns)
    return top, left, *window
