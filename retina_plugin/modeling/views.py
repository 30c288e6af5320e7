"""Detect the objects of an image in several views of it: in slices and in the whole image.

Axes: M boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from retina_plugin.layers.boxes import area, clip
from retina_plugin.modeling.postprocessing import rescale_detections
from retina_plugin.modeling.preprocessing import Size, resized_shape
from retina_plugin.modeling.slices import Window, slice_windows
from retina_plugin.modeling.structures import Detections, Target

MIN_INSIDE = 0.7  # share of an object's area that a slice must contain for the object to count


class View(NamedTuple):
    """A part of an image, at the size at which the network sees it.

    Attributes:
        window: the part of the image.
        size: (height, width) at the network's input.
        is_measured: whether the view counts for validation losses.
    """

    window: Window
    size: Size
    is_measured: bool

    def to_image(self, detections: Detections) -> Detections:
        """Convert detections from pixels of the view to pixels of the image."""
        top, left, height, width = self.window
        found = rescale_detections(detections, network_size=self.size, image_size=(height, width))
        corner = found["boxes"].new_tensor([left, top, left, top])
        return {**found, "boxes": found["boxes"] + corner}

    def from_image(self, target: Target) -> Target:
        """Convert objects from pixels of the image to pixels of the view.

        Boxes are clipped to the view. Objects of which less than :data:`MIN_INSIDE` is inside are
        left out.
        """
        top, left, height, width = self.window
        boxes = target["boxes"] - target["boxes"].new_tensor([left, top, left, top])
        inside = clip(boxes, (height, width))
        kept = area(inside) >= MIN_INSIDE * area(boxes)
        scale_y, scale_x = self.size[0] / height, self.size[1] / width
        scale = boxes.new_tensor([scale_x, scale_y, scale_x, scale_y])
        return {"boxes": inside[kept] * scale, "labels": target["labels"][kept]}


class Slices(NamedTuple):
    """How an image is cut into slices.

    Attributes:
        size: side in pixels of the image.
        overlap: fraction of ``size`` that neighbours share.
        full_image: whether the whole image is a further view, for objects larger than a slice.
        merge: merges the detections of all slices of an image.
    """

    size: int
    overlap: float
    full_image: bool
    merge: Callable[[Sequence[Detections]], Detections]


Cut = Callable[[View], Tensor]  # returns a view (3, height, width) as the model takes images
Detect = Callable[[list[Tensor], list[View]], list[Detections]]


class Views:
    """Plans the views of an image, and merges their detections."""

    def __init__(self, *, min_size: int, max_size: int, slices: Slices, batch: int) -> None:
        """
        Args:
            min_size, max_size: the size to which each view is resized, see
                :func:`retina_plugin.modeling.preprocessing.resized_shape`.
            slices: how images are cut.
            batch: the largest number of views that the network processes together.
        """
        self.min_size, self.max_size = min_size, max_size
        self.slices, self.batch = slices, batch

    def plan(self, height: int, width: int) -> list[View]:
        """Return the slices of an image; after them the whole image, if it is not the only slice
        and ``full_image`` is set.

        Objects can be too small in the whole image, so it does not count for validation losses.
        """
        windows = slice_windows(height, width, size=self.slices.size, overlap=self.slices.overlap)
        views = [self._view(window, is_measured=True) for window in windows]
        if self.slices.full_image and len(windows) > 1:
            views.append(self._view((0, 0, height, width), is_measured=False))
        return views

    def _view(self, window: Window, *, is_measured: bool) -> View:
        _, _, height, width = window
        size = resized_shape(height, width, self.min_size, self.max_size)
        return View(window, size, is_measured)

    def detect(self, image_size: Size, cut: Cut, detect: Detect) -> Detections:
        """Detect the objects of an image.

        Args:
            image_size: (height, width) of the image.
            cut: returns the pixels of a view. Few views exist at the same time.
            detect: returns the detections of images (3, height, width) in their pixels.

        Returns:
            Detections in pixels of the image.
        """
        views = self.plan(*image_size)
        found = dict(self._detect_in_batches(views, cut, detect))
        by_window = [found[index] for index in range(len(views))]
        return by_window[0] if len(views) == 1 else self.slices.merge(by_window)

    def _detect_in_batches(
        self, views: Sequence[View], cut: Cut, detect: Detect
    ) -> Iterator[tuple[int, Detections]]:
        """Yield the index of each view and its detections in pixels of the image."""
        by_size: dict[Size, list[int]] = {}
        for index, view in enumerate(views):
            by_size.setdefault(view.size, []).append(index)
        for indices in by_size.values():
            for start in range(0, len(indices), self.batch):
                batch = indices[start : start + self.batch]
                chosen = [views[index] for index in batch]
                found = detect([cut(view) for view in chosen], chosen)
                for index, view, detections in zip(batch, chosen, found, strict=True):
                    yield index, view.to_image(detections)
