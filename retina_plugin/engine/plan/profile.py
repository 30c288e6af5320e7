"""Describe a data set by the numbers from which a run is planned."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retina_plugin.data import Dataset
from retina_plugin.data.pixel_kinds import describe_kinds, pixel_kinds

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class DataProfile:
    """Sizes of images and objects. Crowds are left out.

    Attributes:
        class_names: K names.
        image_sides: (N, 2) shorter and longer side of each image, pixels.
        boxes: (B, 2) width and height of each box, pixels.
        labels: (B,) class of each box.
        box_images: (B,) index of the image of each box.
        pixels: channels and bits of the images, such as "8-bit RGB images"; "" if unknown.
    """

    class_names: tuple[str, ...]
    image_sides: Array
    boxes: Array
    labels: NDArray[np.int64]
    box_images: NDArray[np.int64]
    pixels: str = ""

    @property
    def num_images(self) -> int:
        return len(self.image_sides)

    @property
    def num_background(self) -> int:
        """The number of images without boxes."""
        return self.num_images - len(np.unique(self.box_images))

    def without_background(self) -> DataProfile:
        """Return the profile of the images with boxes."""
        kept, box_images = np.unique(self.box_images, return_inverse=True)
        return dataclasses.replace(self, image_sides=self.image_sides[kept], box_images=box_images)

    @property
    def short_side(self) -> float:
        """The median shorter side of the images, pixels."""
        return float(np.median(self.image_sides[:, 0]))

    @property
    def elongation(self) -> float:
        """The 95th percentile of longer side / shorter side of the images."""
        return float(np.percentile(self.image_sides[:, 1] / self.image_sides[:, 0], 95))

    @property
    def counts(self) -> NDArray[np.int64]:
        """(K,) boxes of each class."""
        return np.bincount(self.labels, minlength=len(self.class_names))

    def boxes_at(self, short_side: float) -> Array:
        """(B, 2) boxes in images that are resized so that the shorter side is ``short_side``."""
        scale = short_side / self.image_sides[self.box_images, 0]
        boxes: Array = self.boxes * scale[:, None]
        return boxes

    def sizes_at(self, short_side: float) -> Array:
        """(B,) square roots of the areas of :meth:`boxes_at`."""
        sizes: Array = np.sqrt(self.boxes_at(short_side).prod(axis=1))
        return sizes

    def smallest_size_at(self, short_side: float, *, percentile: float) -> tuple[float, str]:
        """Return a percentile of object sizes, of the class where it is lowest, and the class name.

        Classes with fewer than 10 boxes are left out, because a percentile of so few says little.
        If no class has 10 boxes, all classes are used.
        """
        sizes = self.sizes_at(short_side)
        counted = np.flatnonzero(self.counts >= 10)
        if not len(counted):
            counted = np.flatnonzero(self.counts)
        of_class = {k: np.percentile(sizes[self.labels == k], percentile) for k in counted}
        smallest = min(of_class, key=lambda k: of_class[k])
        return float(of_class[smallest]), self.class_names[smallest]


def profile_of(*datasets: Dataset) -> DataProfile:
    """Profile data sets that have the same classes.

    Raises:
        ValueError: the data sets have no box that is not a crowd.
    """
    sides: list[list[int]] = []
    boxes: list[tuple[float, float]] = []
    labels: list[int] = []
    images: list[int] = []
    for record in (record for dataset in datasets for record in dataset.records):
        for annotation in record["annotations"]:
            if annotation["iscrowd"]:
                continue
            x0, y0, x1, y1 = annotation["bbox"]
            boxes.append((x1 - x0, y1 - y0))
            labels.append(annotation["category_id"])
            images.append(len(sides))
        sides.append(sorted((record["height"], record["width"])))
    if not boxes:
        names = ", ".join(dataset.name for dataset in datasets)
        raise ValueError(f"{names}: no boxes to plan a run for")
    return DataProfile(
        class_names=datasets[0].class_names,
        image_sides=np.asarray(sides, dtype=np.float64),
        boxes=np.asarray(boxes, dtype=np.float64),
        labels=np.asarray(labels, dtype=np.int64),
        box_images=np.asarray(images, dtype=np.int64),
        pixels=describe_kinds(pixel_kinds(r for d in datasets for r in d.records)),
    )
