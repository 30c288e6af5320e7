"""Random crops, as Detectron2 draws them."""

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
    """Cut out a random window, see :func:`draw_window`."""

    needs_pixels = False

    def __init__(self, *, enabled: bool, kind: str, size: Sequence[float]) -> None:
        """
        Args:
            enabled: False leaves every image whole.
            kind: see :func:`draw_window`.
            size: two numbers, of height and width.

        Raises:
            ValueError: an unknown kind.
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
    """The part of a sample within a window; boxes are moved and not clipped."""
    top, left, height, width = window
    return {
        **sample,
        "image": sample["image"][top : top + height, left : left + width],
        "boxes": sample["boxes"] - [left, top, left, top],
    }


def draw_window(
    shape: tuple[int, int], *, kind: str, size: Sequence[float], rng: np.random.Generator
) -> Window:
    """A random window of an image of (height, width), at least one pixel high and wide.

    Args:
        shape: of the image.
        kind: "relative" (``size`` is a share of height and width), "relative_range" (shares drawn
            between ``size`` and 1), "absolute" (pixels) or "absolute_range" (pixels drawn between
            the two numbers).
        size: two numbers.
        rng: gives the shares or pixels of a range, then top, then left.
    """
    height, width = shape
    if kind == "relative":
        window = int(height * size[0] + 0.5), int(width * size[1] + 0.5)
    elif kind == "relative_range":
        shares = np.asarray(size) + rng.random(2) * (1 - np.asarray(size))
        window = int(height * shares[0] + 0.5), int(width * shares[1] + 0.5)
    elif kind == "absolute":
        window = min(int(size[0]), height), min(int(size[1]), width)
    else:
        low, high = int(size[0]), int(size[1])
        window = tuple(int(rng.integers(min(n, low), min(n, high) + 1)) for n in (height, width))
    window = max(window[0], 1), max(window[1], 1)
    return (
        int(rng.integers(height - window[0] + 1)),
        int(rng.integers(width - window[1] + 1)),
        *window,
    )
