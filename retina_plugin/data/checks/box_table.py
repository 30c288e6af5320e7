"""The boxes of a data set as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from retina_plugin.data.dataset import Dataset, Record


@dataclass(frozen=True)
class BoxTable:
    """The M boxes of a data set, without crowds.

    Attributes:
        records: N images.
        boxes: (M, 4) XYXY in pixels.
        labels: (M,) class indices.
        images: (M,) index of the record of each box, ascending.
        annotations: the entry of each box in "annotations".
    """

    records: Sequence[Record]
    boxes: np.ndarray
    labels: np.ndarray
    images: np.ndarray
    annotations: Sequence[dict[str, Any]]

    @classmethod
    def of(cls, dataset: Dataset) -> BoxTable:
        """Collect the boxes of a data set."""
        images, annotations = [], []
        for index, record in enumerate(dataset.records):
            for annotation in record["annotations"]:
                if not annotation["iscrowd"]:
                    images.append(index)
                    annotations.append(annotation)
        return cls(
            dataset.records,
            np.array([a["bbox"] for a in annotations], dtype=np.float64).reshape(-1, 4),
            np.array([a["category_id"] for a in annotations], dtype=np.int64),
            np.array(images, dtype=np.int64),
            annotations,
        )

    @property
    def image_sizes(self) -> np.ndarray:
        """(N, 2) width and height of the images."""
        sizes = [(record["width"], record["height"]) for record in self.records]
        return np.array(sizes, dtype=np.float64).reshape(-1, 2)

    def record_of(self, box: int) -> Record:
        """Return the record of the image of a box."""
        return self.records[int(self.images[box])]
