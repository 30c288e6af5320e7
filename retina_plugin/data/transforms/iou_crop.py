"""Random crop that shows at least one object well (SSD).

Axes: M boxes, T trials.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retina_plugin.data.transforms.crop import crop
from retina_plugin.data.transforms.registry import TRANSFORMS, own_keys
from retina_plugin.data.transforms.sample import Draw, Sample
from retina_plugin.data.transforms.visible import areas

TRIALS = 40


@TRANSFORMS.register(reads=own_keys("RandomIoUCrop"))
class RandomIoUCrop:
    """Crops a window whose IoU with at least one box reaches a random minimum (arXiv 1512.02325).

    The rules are those of torchvision's v2 transform of this name. The aspect ratio of the window
    is from 0.5 to 2. Boxes whose centre is inside the window are kept, and the IoU of one of them
    must reach the minimum. If none of 40 random windows fits, the whole image is kept.
    """

    needs_pixels = False

    def __init__(self, *, min_iou: Sequence[float], scale: Sequence[float]) -> None:
        """
        Args:
            min_iou: the minimum is drawn from these values; 1 keeps the whole image.
            scale: smallest and largest side of the window, as a share of the side of the image.
        """
        self.min_iou, self.scale = min_iou, scale

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        least = float(rng.choice(self.min_iou))
        windows = self._draw_windows(sample["image"].shape[:2], rng)
        if least >= 1:
            return sample
        inside = centres_inside(sample["boxes"], windows)
        fits = (window_ious(sample["boxes"], windows) >= least) & inside
        good = np.flatnonzero(fits.any(axis=1))
        if not len(good):
            return sample
        left, top, right, bottom = windows[good[0]].tolist()
        kept = inside[good[0]]
        shown: Sample = {
            **sample,
            "boxes": sample["boxes"][kept],
            "labels": sample["labels"][kept],
        }
        return crop(shown, (top, left, bottom - top, right - left))

    def _draw_windows(self, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """Draw windows (T, 4) int64 XYXY inside an image, and keep those with an allowed aspect
        ratio.

        A window is at least one pixel high and wide.
        """
        image = np.array(shape)
        sides = (
            (image * rng.uniform(self.scale[0], self.scale[1], (TRIALS, 2)))
            .astype(np.int64)
            .clip(1)
        )
        corners = (rng.random((TRIALS, 2)) * (image - sides + 1)).astype(np.int64)
        windows = np.concatenate([corners[:, ::-1], (corners + sides)[:, ::-1]], axis=1)
        ratios = sides[:, 1] / sides[:, 0]
        allowed: np.ndarray = windows[(ratios >= 0.5) & (ratios <= 2)]
        return allowed


def centres_inside(boxes: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Return (T, M) bool: whether the centre of each box (M, 4) is inside each window (T, 4)."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = (centres > windows[:, None, :2]) & (centres < windows[:, None, 2:])
    found: np.ndarray = np.all(inside, axis=2)
    return found


def window_ious(boxes: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Return the IoUs (T, M) of boxes (M, 4) and windows (T, 4) with area."""
    sides = np.minimum(boxes[:, 2:], windows[:, None, 2:]) - np.maximum(
        boxes[:, :2], windows[:, None, :2]
    )
    shared = sides.clip(0).prod(axis=2)
    ious: np.ndarray = shared / (areas(windows)[:, None] + areas(boxes) - shared)
    return ious
