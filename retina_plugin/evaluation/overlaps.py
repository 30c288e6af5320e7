"""Compute the IoU of detections and boxes of all images, once for all evaluations of a data set.

Axes: D detections, M boxes, P pairs of a detection and a box that overlap, I images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from retina_plugin.data import Dataset
from retina_plugin.data.dataset import Record


@dataclass(frozen=True)
class Overlaps:
    """Detections and boxes of a data set, and their IoU.

    For crowds, the IoU is the intersection divided by the area of the detection, as in COCO.

    Attributes:
        class_names: K names.
        images: I, the number of images.
        detection_images: (D,) int64, index of the record; ascending.
        labels: (D,) int64, class.
        scores: (D,) float64, descending in each image.
        corners: (D, 4) float64, XYXY pixels.
        detection_areas: (D,) float64, square pixels.
        box_images, box_labels: (M,) int64.
        box_corners: (M, 4) float64, XYXY pixels.
        box_numbers: (M,) int64, index in "annotations" of the record.
        areas: (M,) float64, "area" of the annotation.
        crowd: (M,) bool.
        pair_detections, pair_boxes: (P,) int64, sorted by detection and then by box.
        iou: (P,) float64, above 0.
    """

    class_names: tuple[str, ...]
    images: int
    detection_images: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    corners: np.ndarray
    detection_areas: np.ndarray
    box_images: np.ndarray
    box_labels: np.ndarray
    box_corners: np.ndarray
    box_numbers: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    pair_detections: np.ndarray
    pair_boxes: np.ndarray
    iou: np.ndarray

    @property
    def is_same_class(self) -> np.ndarray:
        """(P,) whether detection and box of a pair have the same class."""
        same: np.ndarray = self.labels[self.pair_detections] == self.box_labels[self.pair_boxes]
        return same

    def box_counts(self, counted: np.ndarray) -> np.ndarray:
        """Return the number of boxes (I, K) int64 for which ``counted`` (M,) is True."""
        counts = np.zeros((self.images, len(self.class_names)), dtype=np.int64)
        np.add.at(counts, (self.box_images[counted], self.box_labels[counted]), 1)
        return counts


def compute_overlaps(
    dataset: Dataset, results: Sequence[Mapping[str, Any]], *, max_detections: int
) -> Overlaps:
    """Compute the IoU of all detections and boxes that are in the same image.

    Args:
        dataset: a data set with ground truth.
        results: detections of all images in COCO's results format; may be empty.
        max_detections: number of best detections of each image and class that are used.
    """
    of_image: dict[Any, list[Mapping[str, Any]]] = {}
    for result in results:
        of_image.setdefault(result["image_id"], []).append(result)
    classes = {category: index for index, category in enumerate(dataset.category_ids)}
    tables = [
        _ImageTable.of(record, of_image.get(record["image_id"], ()), classes, max_detections)
        for record in dataset.records
    ]
    return _join(dataset.class_names, tables)


@dataclass(frozen=True)
class _ImageTable:
    """Detections, boxes and pairs of one image; ``pairs`` are indexes in the image."""

    labels: np.ndarray
    scores: np.ndarray
    found: np.ndarray  # (D, 4) XYWH
    boxes: np.ndarray  # (M, 4) XYXY
    details: np.ndarray  # (M, 3) class, area, crowd
    pairs: tuple[np.ndarray, np.ndarray]
    iou: np.ndarray

    @staticmethod
    def of(
        record: Record,
        results: Sequence[Mapping[str, Any]],
        classes: Mapping[Any, int],
        max_detections: int,
    ) -> _ImageTable:
        scores = np.array([result["score"] for result in results], dtype=np.float64)
        labels = np.array([classes[result["category_id"]] for result in results], dtype=np.int64)
        order = np.argsort(-scores, kind="stable")
        order = order[_rank_in_class(labels[order]) < max_detections]
        found = _table([result["bbox"] for result in results], 4)[order]
        annotations = record["annotations"]
        boxes = _table([a["bbox"] for a in annotations], 4)
        details = _table([[a["category_id"], a["area"], a["iscrowd"]] for a in annotations], 3)
        iou = _iou(found, boxes, details[:, 2] > 0)
        rows, columns = iou.nonzero()
        pairs = rows, columns
        return _ImageTable(labels[order], scores[order], found, boxes, details, pairs, iou[pairs])


def _table(rows: Sequence[Any], columns: int) -> np.ndarray:
    return np.array(rows, dtype=np.float64).reshape(-1, columns)


def _rank_in_class(labels: np.ndarray) -> np.ndarray:
    """Return how many earlier entries have the same label, for each of (D,) labels."""
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], labels[order])
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(labels)) - starts
    return ranks


def _iou(found: np.ndarray, boxes: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Return the IoU of (D, 4) XYWH and (M, 4) XYXY boxes as (D, M), computed as pycocotools
    does."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    corner = np.minimum(found[:, None, :2] + found[:, None, 2:], boxes[:, :2] + sizes)
    sides = np.maximum(corner - np.maximum(found[:, None, :2], boxes[:, :2]), 0)
    intersection = sides[..., 0] * sides[..., 1]
    areas = found[:, None, 2] * found[:, None, 3]
    union = np.where(crowd, areas, areas + sizes[:, 0] * sizes[:, 1] - intersection)
    overlaps: np.ndarray = np.divide(
        intersection, union, out=np.zeros_like(intersection), where=intersection > 0
    )
    return overlaps


def _join(class_names: tuple[str, ...], tables: Sequence[_ImageTable]) -> Overlaps:
    """Join the tables of the images, and number detections and boxes over all of them."""
    detections = np.array([len(table.scores) for table in tables], dtype=np.int64)
    boxes = np.array([len(table.boxes) for table in tables], dtype=np.int64)
    first_detection, first_box = detections.cumsum() - detections, boxes.cumsum() - boxes
    found = np.concatenate([np.empty((0, 4)), *(table.found for table in tables)])
    details = np.concatenate([np.empty((0, 3)), *(table.details for table in tables)])
    numbers = np.arange(len(tables))
    return Overlaps(
        class_names=class_names,
        images=len(tables),
        detection_images=np.repeat(numbers, detections),
        labels=_concatenate([table.labels for table in tables]),
        scores=np.concatenate([np.empty(0), *(table.scores for table in tables)]),
        corners=np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1),
        detection_areas=found[:, 2] * found[:, 3],
        box_images=np.repeat(numbers, boxes),
        box_labels=details[:, 0].astype(np.int64),
        box_corners=np.concatenate([np.empty((0, 4)), *(table.boxes for table in tables)]),
        box_numbers=_concatenate([np.arange(count) for count in boxes]),
        areas=details[:, 1],
        crowd=details[:, 2] > 0,
        pair_detections=_concatenate(
            [t.pairs[0] + n for t, n in zip(tables, first_detection, strict=True)]
        ),
        pair_boxes=_concatenate([t.pairs[1] + n for t, n in zip(tables, first_box, strict=True)]),
        iou=np.concatenate([np.empty(0), *(table.iou for table in tables)]),
    )


def _concatenate(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])
