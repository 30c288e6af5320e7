"""Choose the size of images from the sizes of objects."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from retina_plugin.engine.plan.given import Given
from retina_plugin.engine.plan.given_size import GivenSize
from retina_plugin.engine.plan.profile import DataProfile
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
        view_side: side of windows or slices, pixels.
        given_range: :attr:`train_range`, if the user gives it.
    """

    short_side: int
    long_side: int
    window: int
    reason: str
    sliced: bool = False
    full_image: bool = False
    view_side: int = WINDOW
    given_range: tuple[int, ...] = ()

    @property
    def train_range(self) -> tuple[int, int]:
        """Smallest and largest shorter side of training images or windows, pixels."""
        if self.given_range:
            return self.given_range[0], self.given_range[-1]
        largest = self.view_side if self.window else self.short_side
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
        side = self.view_side
        slices = slice_windows(self.short_side, self.long_side, size=side, overlap=OVERLAP)
        whole = self.long_side / self.short_side if self.full_image else 0.0
        return side**2 * (len(slices) + whole)

    @property
    def object_side(self) -> float:
        """The shorter side of whole images, at the mean of the random sizes in training."""
        middle = sum(self.train_range) / 2
        return self.short_side * middle / self.view_side if self.window else middle


def round_down(side: float) -> int:
    """Return the largest multiple of :data:`STEP` up to ``side``, at least :data:`STEP`."""
    return max(int(side // STEP) * STEP, STEP)


def _round(side: float) -> int:
    return max(round(side / STEP) * STEP, STEP)


def choose_input_size(
    profile: DataProfile, *, gpu: bool, shrink: float = 1.0, given: Given | None = None
) -> InputSize:
    """Choose the size at which small and typical objects keep enough pixels.

    Args:
        profile: profile of the training set.
        gpu: whether training runs on a GPU, which can afford larger images.
        shrink: factor of the side; below 1 if the time budget needs smaller images. The side stays
            large enough for small objects to have :data:`VISIBLE` pixels.
        given: the values on the command line. A given size is used; whole images are then not cut
            unless windows or slices are given too, and ``shrink`` changes nothing.
    """
    wanted = GivenSize.of(given or {})
    if wanted.slice:
        return _given_slices(profile, wanted)
    side = wanted.side or _wanted_side(profile, shrink)
    if wanted.longest_test:
        side = min(side, round(wanted.longest_test / profile.elongation))
    reason = _facts(profile, side)
    if wanted.side:
        reason = f"{wanted.reason}: {reason}"
    elif shrink < 1:
        reason += "; made smaller so that enough steps fit into the time"
    long_side = wanted.longest_test or math.ceil(side * profile.elongation)
    whole = InputSize(side, long_side, 0, reason, given_range=_given_range(profile, wanted))
    return whole if wanted.train else _cut(profile, whole, wanted, gpu=gpu)


def _wanted_side(profile: DataProfile, shrink: float) -> int:
    original = profile.short_side
    smallest, _ = profile.smallest_size_at(original, percentile=10)
    median = float(np.median(profile.sizes_at(original)))
    for_small, for_typical = SMALL / smallest * original, TYPICAL / median * original
    wanted = min(max(for_small, for_typical, LEAST_SIDE), original) * shrink
    visible = min(VISIBLE / smallest, MOST_ENLARGED) * original
    return _round(max(wanted, visible))


def _facts(profile: DataProfile, side: float) -> str:
    """Say how large objects are in whole images with this shorter side."""
    original = profile.short_side
    smallest, name = profile.smallest_size_at(original, percentile=10)
    median, scale = float(np.median(profile.sizes_at(original))), side / original
    return (
        f"small objects (10th percentile of {name}) have {smallest * scale:.0f} pixels and the "
        f"median object {median * scale:.0f}, of {smallest:.0f} and {median:.0f} in the images"
    )


def _given_range(profile: DataProfile, wanted: GivenSize) -> tuple[int, ...]:
    limit = round(wanted.longest_train / profile.elongation)
    return tuple(min(side, limit) if limit else side for side in wanted.train)


def _given_slices(profile: DataProfile, wanted: GivenSize) -> InputSize:
    """Return the size for slices that the user gives: each is resized to the given size."""
    assert wanted.slice
    view = wanted.side or WINDOW
    side = max(round(view / wanted.slice * profile.short_side), 1)
    full_image = wanted.full_image
    if full_image is None:
        full_image = largest_size(profile, side) > view / 2
    return InputSize(
        side,
        math.ceil(side * profile.elongation),
        wanted.slice,
        f"{wanted.reason or 'the size of a slice'}: {_facts(profile, side)}",
        sliced=True,
        full_image=full_image,
        view_side=view,
        given_range=wanted.train,
    )


def _cut(profile: DataProfile, size: InputSize, wanted: GivenSize, *, gpu: bool) -> InputSize:
    """Cut windows or slices out of large images."""
    side, original = size.short_side, profile.short_side
    scale, limit = side / original, LARGEST_WHOLE_GPU if gpu else LARGEST_WHOLE
    if side <= limit or wanted.window == 0:
        return size
    window = wanted.window or round(WINDOW / scale)
    view = round(window * scale) if wanted.window else WINDOW
    smallest, _ = profile.smallest_size_at(original, percentile=10)
    in_whole = smallest * limit / original  # size of small objects
    if in_whole >= VISIBLE or wanted.test or wanted.slice == 0 or wanted.window:
        return dataclasses.replace(size, window=window, view_side=view)
    reason = (
        f"{size.reason}; images are cut into slices, because in whole images of {limit} pixels "
        f"small objects would have {in_whole:.0f}"
    )
    full_image = wanted.full_image
    if full_image is None:
        full_image = largest_size(profile, side) > WINDOW / 2
    return dataclasses.replace(
        size, window=window, reason=reason, sliced=True, full_image=full_image
    )


def largest_size(profile: DataProfile, side: float) -> float:
    """Return the 95th percentile of object sizes, of the class where it is highest, in whole images
    with this shorter side."""
    sizes, present = profile.sizes_at(side), np.unique(profile.labels)
    return float(max(np.percentile(sizes[profile.labels == k], 95) for k in present))
