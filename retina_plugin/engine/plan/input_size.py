"""Choose the size of images and the levels of the pyramid from the sizes of objects."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from retina_plugin.engine.plan.profile import DataProfile

SMALL = 24.0  # pixels that small objects should have, where the images hold them
VISIBLE = 12.0  # pixels below which images are enlarged
TYPICAL = 80.0  # pixels that the median object should have, where the images hold them
LEAST_SIDE = 256  # of the shorter side, where the images hold it
MOST_ENLARGED = 2.0
STEP = 32  # sides are multiples of the coarsest stride of the backbone
WINDOW = 512  # side of the training windows that are cut out of larger images, pixels
LARGEST_WHOLE = 640  # shorter side from which training cuts out windows, on a CPU
LARGEST_WHOLE_GPU = 1024
CELLS = 1.75  # cells of the finest level that a small object is wide, at least
COARSEST = 6.0  # cells of the coarsest level that a large object is wide, at most
SMALLEST_SCALE = 0.65  # of the random sizes of training


@dataclass(frozen=True)
class InputSize:
    """How large the network sees images.

    Attributes:
        short_side: of whole images, pixels.
        long_side: the most that the longer side may have.
        window: side in original pixels of the windows that training cuts out; 0 for whole images.
        reason: why.
    """

    short_side: int
    long_side: int
    window: int
    reason: str

    @property
    def train_range(self) -> tuple[int, int]:
        """Of the shorter side of training images or windows, pixels."""
        largest = WINDOW if self.window else self.short_side
        return round_down(largest * SMALLEST_SCALE), largest

    @property
    def train_pixels(self) -> float:
        """Pixels of an average training image."""
        middle = sum(self.train_range) / 2
        return middle**2 if self.window else middle**2 * self.long_side / self.short_side

    @property
    def object_side(self) -> float:
        """The shorter side of whole images at the middle of the random sizes of training."""
        low, high = self.train_range
        return self.short_side * (low + high) / 2 / high


def round_down(side: float) -> int:
    """The multiple of :data:`STEP` below, and at least one."""
    return max(int(side // STEP) * STEP, STEP)


def _round(side: float) -> int:
    return max(round(side / STEP) * STEP, STEP)


def choose_input_size(profile: DataProfile, *, gpu: bool, shrink: float = 1.0) -> InputSize:
    """Choose the size at which small and typical objects keep enough pixels.

    Args:
        profile: of the training set.
        gpu: whether training runs on a GPU, which can afford larger images.
        shrink: a factor of the side, if the time budget asks for smaller images; the side stays
            large enough for small objects to have :data:`VISIBLE` pixels.
    """
    original = profile.short_side
    smallest, name = profile.smallest_size_at(original, percentile=10)
    median = float(np.median(profile.sizes_at(original)))
    for_small, for_typical = SMALL / smallest * original, TYPICAL / median * original
    wanted = min(max(for_small, for_typical, LEAST_SIDE), original) * shrink
    visible = min(VISIBLE / smallest, MOST_ENLARGED) * original
    side = _round(max(wanted, visible))
    scale = side / original
    reason = (
        f"small objects (10th percentile of {name}) have {smallest * scale:.0f} pixels and the "
        f"median object {median * scale:.0f}, of {smallest:.0f} and {median:.0f} in the images"
    )
    if shrink < 1:
        reason += "; made smaller so that enough steps fit into the time"
    limit = LARGEST_WHOLE_GPU if gpu else LARGEST_WHOLE
    window = round(WINDOW / scale) if side > limit else 0
    return InputSize(side, math.ceil(side * profile.elongation), window, reason)


def choose_strides(profile: DataProfile, size: InputSize) -> tuple[int, ...]:
    """Choose the levels, finest first: P2 (stride 4) to P7 (128), at least two.

    A small object is at least :data:`CELLS` cells of the finest level wide; a large object at most
    :data:`COARSEST` cells of the coarsest.
    """
    smallest, _ = profile.smallest_size_at(size.object_side, percentile=10)
    sizes = profile.sizes_at(size.object_side)
    labels = np.unique(profile.labels)
    largest = max(np.percentile(sizes[profile.labels == k], 95) for k in labels)
    finest = next((s for s in (16, 8) if s <= smallest / CELLS), 4)
    coarsest = next((s for s in (16, 32, 64) if s >= largest / COARSEST), 128)
    coarsest = max(coarsest, 2 * finest)
    return tuple(2**k for k in range(2, 8) if finest <= 2**k <= coarsest)
