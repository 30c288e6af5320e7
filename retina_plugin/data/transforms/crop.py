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
    }
)
class RandomCrop:
    """Crops a random window, see :func:`draw_window`."""

    needs_pixels = False

    def __init__(self, *, enabled: bool, kind: str, size: Sequence[float]) -> None:
        """
        Args:
            enabled: whether to crop.
            kind, size: see :func:`draw_window`.

        Raises:
            ValueError: ``kind`` is unknown.
        """
        if kind not in KINDS:
            raise ValueError(
                "INPUT.CROP.TYPE must be relative, relative_range, absolute or absolute_range, "
                f"found {kind!r}"
            )
        self.enabled, self.kind, self.size = enabled, kind, size

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        if not self.enabled:
            return sample
        window = draw_window(sample["image"].shape[:2], kind=self.kind, size=self.size, rng=rng)
        return crop(sample, window)


def crop(sample: Sample, window: Window) -> Sample:
    """Crop a sample to a window; boxes are shifted but not clipped."""
    top, left, height, width = window
    return {
        **sample,
        "image": sample["image"][top : top + height, left : left + width],
        "boxes": sample["boxes"] - [left, top, left, top],
    }


def draw_window(
    shape: tuple[int, int], *, kind: str, size: Sequence[float], rng: np.random.Generator
) -> Window:
    """Draw a random window inside an image; it is at least one pixel high and wide.

    Args:
        shape: (height, width) of the image.
        kind: "relative" (``size`` is a fraction of height and of width), "relative_range"
            (fractions are drawn between ``size`` and 1), "absolute" (``size`` is height and width
            in pixels) or "absolute_range" (height and width are drawn between the two numbers).
        size: two numbers.
        rng: source of the random numbers.
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
    top = int(rng.integers(height - window[0] + 1))
    left = int(rng.integers(width - window[1] + 1))
    return top, left, *window
