"""Choose the size of images and the levels of the pyramid from the sizes of objects."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from retina_plugin.engine.plan.profile import Array, DataProfile
from retina_plugin.modeling.slices import slice_windows

SMALL = 24.0  # wanted size of small objects, pixels; images are not enlarged for it
VISIBLE = 12.0  # images are enlarged if small objects are smaller, pixels
TYPICAL = 80.0  # wanted size of the median object, pixels; images are not enlarged for it
LEAST_SIDE = 256  # wanted shorter side, pixels; images are not enlarged for it
MOST_ENLARGED = 2.0
STEP = 32  # sides are multiples of the coarsest stride of the backbone
WINDOW = 512  # side of the windows or slices that are cut out of larger images, pixels
OVERLAP = 0.2  # of slices
LARGEST_WHOLE = 640  # training cuts windows out of images with a larger shorter side, on a CPU
LARGEST_WHOLE_GPU = 1024
CELLS = 1.75  # smallest width of a small object, in cells of the finest level
COARSEST = 6.0  # largest width of a large object, in cells of the coarsest level
SMALLEST_SCALE = 0.65  # smallest random size in training, as a share of the largest


@dataclass(frozen=True)
class InputSize:
    """The size of images at the network's input.

    Attributes:
        short_side: shorter side of whole images, pixels.
        long_side: limit of the longer side, pixels.
        window: side in original pixels of the windows that training cuts out; 0 for whole images.
        reason: why this size was chosen.
        sliced: whether evaluation cuts slices of the size of the windows.
        full_image: whether evaluation uses the whole image in addition to its slices.
    """

    short_side: int
    long_side: int
    window: int
    reason: str
    sliced: bool = False
    full_image: bool = False

    @property
    def train_range(self) -> tuple[int, int]:
        """Smallest and largest shorter side of training images or windows, pixels."""
        largest = WINDOW if self.window else self.short_side
        return round_down(largest * SMALLEST_SCALE), largest

    @property
    def train_pixels(self) -> float:
        """Pixels of an average training image."""
        middle, elongation = sum(self.train_range) / 2, self.long_side / self.short_side
        # windows are padded to the size of a whole image in the same batch
        return middle**2 * (elongation if self.full_image or not self.window else 1)

    @property
    def test_pixels(self) -> float:
        """Pixels of the network's inputs for an average image in evaluation."""
        if not self.sliced:
            return self.short_side * self.long_side
        slices = slice_windows(self.short_side, self.long_side, size=WINDOW, overlap=OVERLAP)
        whole = self.long_side / self.short_side if self.full_image else 0.0
        return WINDOW**2 * (len(slices) + whole)

    @property
    def object_side(self) -> float:
        """The shorter side of whole images, at the mean of the random sizes in training."""
        low, high = self.train_range
        return self.short_side * (low + high) / 2 / high


def round_down(side: float) -> int:
    """Return the largest multiple of :data:`STEP` up to ``side``, at least :data:`STEP`."""
    return max(int(side // STEP) * STEP, STEP)


def _round(side: float) -> int:
    return max(round(side / STEP) * STEP, STEP)


def choose_input_size(profile: DataProfile, *, gpu: bool, shrink: float = 1.0) -> InputSize:
    """Choose the size at which small and typical objects keep enough pixels.

    Args:
        profile: profile of the training set.
        gpu: whether training runs on a GPU, which can afford larger images.
        shrink: factor of the side; below 1 if the time budget needs smaller images. The side stays
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
    long_side = math.ceil(side * profile.elongation)
    limit = LARGEST_WHOLE_GPU if gpu else LARGEST_WHOLE
    window = round(WINDOW / scale) if side > limit else 0
    in_whole = smallest * limit / original  # size of small objects
    if not window or in_whole >= VISIBLE:
        return InputSize(side, long_side, window, reason)
    reason += (
        f"; images are cut into slices, because in whole images of {limit} pixels small objects "
        f"would have {in_whole:.0f}"
    )
    full_image = _largest(profile.sizes_at(side), profile) > WINDOW / 2
    return InputSize(side, long_side, window, reason, sliced=True, full_image=full_image)


def _largest(sizes: Array, profile: DataProfile) -> float:
    """Return the 95th percentile of the sizes of the class with the largest objects."""
    present = np.unique(profile.labels)
    return float(max(np.percentile(sizes[profile.labels == k], 95) for k in present))


def choose_strides(profile: DataProfile, size: InputSize) -> tuple[int, ...]:
    """Choose the levels, finest first: P2 (stride 4) to P7 (128), at least two.

    A small object is at least :data:`CELLS` cells wide on the finest level, and a large object at
    most :data:`COARSEST` cells wide on the coarsest, as far as these levels allow.
    """
    smallest, _ = profile.smallest_size_at(size.object_side, percentile=10)
    largest = _largest(profile.sizes_at(size.object_side), profile)
    finest = next((s for s in (16, 8) if s <= smallest / CELLS), 4)
    coarsest = next((s for s in (16, 32, 64) if s >= largest / COARSEST), 128)
    coarsest = max(coarsest, 2 * finest)
    return tuple(2**k for k in range(2, 8) if finest <= 2**k <= coarsest)
