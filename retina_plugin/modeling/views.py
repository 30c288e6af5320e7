"""Detect the objects of an image in several views of it: slices, resized and mirrored versions.

Axes: M boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from retina_plugin.layers.boxes import area, clip
from retina_plugin.modeling.postprocessing import rescale_detections
from retina_plugin.modeling.preprocessing import Size, resized_shape
from retina_plugin.modeling.slices import Window, slice_windows
from retina_plugin.modeling.structures import Detections, Target

MIN_INSIDE = 0.7  # an object is ground truth of a slice that contains this share of its area

Merge = Callable[[Sequence[Detections]], Detections]


class View(NamedTuple):
    """A part of an image, resized and mirrored for the network.

    Attributes:
        window: the part of the image.
        size: (height, width) at the network's input.
        mirrored: whether left and right are exchanged.
        upside_down: whether top and bottom are exchanged.
        is_measured: whether validation losses are measured on this view.
    """

    window: Window
    size: Size
    mirrored: bool = False
    upside_down: bool = False
    is_measured: bool = True

    def flip(self, image: Tensor) -> Tensor:
        """Mirror an image (3, H, W) as this view requires."""
        axes = [axis for axis, done in ((-1, self.mirrored), (-2, self.upside_down)) if done]
        return image.flip(axes) if axes else image

    def to_image(self, detections: Detections) -> Detections:
        """Convert detections from pixels of the view to pixels of the image."""
        top, left, height, width = self.window
        upright = {**detections, "boxes": self._flip_boxes(detections["boxes"])}
        found = rescale_detections(upright, network_size=self.size, image_size=(height, width))
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
        return {
            "boxes": self._flip_boxes(inside[kept] * scale),
            "labels": target["labels"][kept],
        }

    def _flip_boxes(self, boxes: Tensor) -> Tensor:
        """Mirror boxes (M, 4) in pixels of the view; this function is its own inverse."""
        x0, y0, x1, y1 = boxes.unbind(dim=1)
        if self.mirrored:
            x0, x1 = self.size[1] - x1, self.size[1] - x0
        if self.upside_down:
            y0, y1 = self.size[0] - y1, self.size[0] - y0
        return torch.stack([x0, y0, x1, y1], dim=1)


class Slices(NamedTuple):
    """How an image is cut into slices.

    Attributes:
        size: side in pixels of the image.
        overlap: overlap of neighbouring slices, as a fraction of ``size``.
        full_image: whether the whole image is an additional view, for objects larger than a slice.
        merge: merges the detections of all slices of an image.
    """

    size: int
    overlap: float
    full_image: bool
    merge: Merge


class Versions(NamedTuple):
    """The versions of an image, or of each slice, in which objects are detected.

    Attributes:
        min_sizes: the shorter side of each resized version.
        max_size: limit of the longer side.
        flips: (mirrored, upside down) of each version; each flip is combined with each size.
        merge: merges the detections of all versions. It is not called if there is one version only.
    """

    min_sizes: tuple[int, ...]
    max_size: int
    flips: tuple[tuple[bool, bool], ...]
    merge: Merge


Cut = Callable[[View], Tensor]  # returns a view (3, height, width) as the model takes images
Detect = Callable[[list[Tensor], list[View]], list[Detections]]


class Views:
    """Plans the views of an image, and merges their detections."""

    def __init__(
        self, *, slices: Slices | None, versions: Versions, batch: int, only_suppresses: bool
    ) -> None:
        """
        Args:
            slices: how images are cut; None for whole images.
            versions: the versions of each slice.
            batch: the largest number of views that the network processes together.
            only_suppresses: whether merging only drops detections and lowers scores, each by boxes
                with higher scores, so that a score threshold before it only drops detections below
                the threshold.
        """
        self.slices, self.versions, self.batch = slices, versions, batch
        self.only_suppresses = only_suppresses

    def plan(self, height: int, width: int) -> list[list[View]]:
        """Return the versions of each slice of an image.

        If there are several slices and ``full_image`` is True, the versions of the whole image come
        last. Validation losses are not measured on them, because objects can be too small in the
        whole image.
        """
        whole = (0, 0, height, width)
        if self.slices is None:
            return [self._versions(whole, is_measured=True)]
        windows = slice_windows(height, width, size=self.slices.size, overlap=self.slices.overlap)
        views = [self._versions(window, is_measured=True) for window in windows]
        if self.slices.full_image and len(windows) > 1:
            views.append(self._versions(whole, is_measured=False))
        return views

    def _versions(self, window: Window, *, is_measured: bool) -> list[View]:
        _, _, height, width = window
        return [
            View(
                window,
                resized_shape(height, width, size, self.versions.max_size),
                mirrored,
                upside_down,
                is_measured,
            )
            for size in self.versions.min_sizes
            for mirrored, upside_down in self.versions.flips
        ]

    def detect(self, image_size: Size, cut: Cut, detect: Detect) -> Detections:
        """Detect the objects of an image.

        Args:
            image_size: (height, width) of the image.
            cut: returns the pixels of a view. It is called for one batch of views at a time, so few
                views are in memory.
            detect: returns the detections of a batch of views (3, height, width), in pixels of the
                view.

        Returns:
            Detections in pixels of the image.
        """
        plan = self.plan(*image_size)
        views = [view for versions in plan for view in versions]
        found = dict(self._detect_in_batches(views, cut, detect))
        count = len(plan[0])  # of versions, the same for all slices
        parts = [[found[i * count + j] for j in range(count)] for i in range(len(plan))]
        merged = [self.versions.merge(x) if count > 1 else x[0] for x in parts]
        if self.slices is None or len(merged) == 1:
            return merged[0]
        return self.slices.merge(merged)

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
