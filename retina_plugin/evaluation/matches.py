"""Match detections to boxes as pycocotools does, for score thresholds and intervals of AP.

pycocotools gives its matches only in a slow form, and its faster replacements do not give them.
Axes: T IoU thresholds, D detections, I images, K classes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from retina_plugin.data import Dataset
from retina_plugin.data.dataset import Record

IOU_THRESHOLDS = tuple(float(t) for t in np.linspace(0.5, 0.95, 10))  # the thresholds of COCO's AP


@dataclass(frozen=True)
class Matches:
    """Detections of a data set, sorted by class and descending score, with their matches.

    Attributes:
        class_names: K names.
        iou_thresholds: T thresholds.
        classes: (D,) int64, class of each detection.
        images: (D,) int64, index of its record.
        scores: (D,) float64.
        hits: (T, D) bool, whether it found a box that is no crowd.
        ignored: (T, D) bool, whether it lies in a crowd; it counts neither as found nor as wrong.
        boxes: (I, K) int64, number of boxes other than crowds.
    """

    class_names: tuple[str, ...]
    iou_thresholds: tuple[float, ...]
    classes: np.ndarray
    images: np.ndarray
    scores: np.ndarray
    hits: np.ndarray
    ignored: np.ndarray
    boxes: np.ndarray

    def of_classes(self) -> Iterator[slice]:
        """Yield the slice of the detections of each class, for K classes."""
        ends = np.searchsorted(self.classes, np.arange(len(self.class_names) + 1))
        return (slice(*pair) for pair in itertools.pairwise(ends.tolist()))


def match_detections(
    dataset: Dataset,
    results: Sequence[Mapping[str, Any]],
    *,
    max_detections: int,
    iou_thresholds: tuple[float, ...] = IOU_THRESHOLDS,
) -> Matches:
    """Match the detections of each image and class, best score first.

    Each detection takes the free box with the highest IoU, if that is at least the threshold (the
    last of several equal ones). A detection that finds none may lie in a crowd: then it is ignored.
    For crowds, the IoU is the intersection divided by the area of the detection. This is the rule
    of COCOeval for boxes of all sizes.

    Args:
        dataset: a data set with ground truth.
        results: detections of all images in COCO's results format; may be empty.
        max_detections: number of best detections of each image and class that are used.
        iou_thresholds: ascending, at most 1.
    """
    of_image: dict[Any, list[Mapping[str, Any]]] = {}
    for result in results:
        of_image.setdefault(result["image_id"], []).append(result)
    classes = {category: index for index, category in enumerate(dataset.category_ids)}
    parts = [
        _match_image(
            record,
            of_image[record["image_id"]],
            classes,
            number=number,
            max_detections=max_detections,
            # as COCOeval does, because an IoU of 1 may be computed as 1 - 1e-16
            thresholds=np.minimum(iou_thresholds, 1 - 1e-10),
        )
        for number, record in enumerate(dataset.records)
        if record["image_id"] in of_image
    ]
    rows = np.concatenate([np.empty((0, 3)), *(rows for rows, _, _ in parts)])
    nothing = np.zeros((len(iou_thresholds), 0), dtype=bool)
    hits, ignored = (np.concatenate([nothing, *(p[i] for p in parts)], axis=1) for i in (1, 2))
    return _sorted(
        Matches(
            class_names=dataset.class_names,
            iou_thresholds=iou_thresholds,
            images=rows[:, 0].astype(np.int64),
            classes=rows[:, 1].astype(np.int64),
            scores=rows[:, 2],
            hits=hits,
            ignored=ignored,
            boxes=_box_counts(dataset),
        )
    )


def merge(parts: Sequence[Matches]) -> Matches:
    """Merge the matches of data sets with the same classes, as if they were one data set."""
    first = np.cumsum([0, *(len(part.boxes) for part in parts)])
    return _sorted(
        Matches(
            class_names=parts[0].class_names,
            iou_thresholds=parts[0].iou_thresholds,
            images=np.concatenate([p.images + n for p, n in zip(parts, first, strict=False)]),
            classes=np.concatenate([part.classes for part in parts]),
            scores=np.concatenate([part.scores for part in parts]),
            hits=np.concatenate([part.hits for part in parts], axis=1),
            ignored=np.concatenate([part.ignored for part in parts], axis=1),
            boxes=np.concatenate([part.boxes for part in parts]),
        )
    )


def _sorted(matches: Matches) -> Matches:
    """Sort the detections by class and descending score; equal scores keep their order."""
    order = np.lexsort((-matches.scores, matches.classes))
    return replace(
        matches,
        images=matches.images[order],
        classes=matches.classes[order],
        scores=matches.scores[order],
        hits=matches.hits[:, order],
        ignored=matches.ignored[:, order],
    )


def _box_counts(dataset: Dataset) -> np.ndarray:
    counts = np.zeros((len(dataset.records), dataset.num_classes), dtype=np.int64)
    for number, record in enumerate(dataset.records):
        for annotation in record["annotations"]:
            counts[number, annotation["category_id"]] += not annotation["iscrowd"]
    return counts


def _match_image(
    record: Record,
    results: Sequence[Mapping[str, Any]],
    classes: Mapping[Any, int],
    *,
    number: int,
    max_detections: int,
    thresholds: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Match the detections of one image.

    Returns:
        rows: (D, 3), "number", class and score of each detection, by descending score.
        hits, ignored: (T, D), see :class:`Matches`.
    """
    scores = np.array([result["score"] for result in results], dtype=np.float64)
    labels = np.array([classes[result["category_id"]] for result in results])
    order = np.argsort(-scores, kind="stable")
    order = order[_rank_in_class(labels[order]) < max_detections]
    scores, labels = scores[order], labels[order]
    hits, ignored = np.zeros((2, len(thresholds), len(scores)), dtype=bool)
    # crowds last, as in COCOeval
    annotations = sorted(record["annotations"], key=lambda a: bool(a["iscrowd"]))
    if annotations:
        boxes = np.array([a["bbox"] for a in annotations], dtype=np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        crowd = np.array([bool(a["iscrowd"]) for a in annotations])
        found = np.array([results[i]["bbox"] for i in order], dtype=np.float64)
        overlaps = _overlaps(found, boxes, crowd)
        overlaps[labels[:, None] != [a["category_id"] for a in annotations]] = -1
        _match_greedily(overlaps, crowd, thresholds, hits, ignored)
    return np.stack([np.full(len(scores), number), labels, scores], axis=1), hits, ignored


def _rank_in_class(labels: np.ndarray) -> np.ndarray:
    """Return how many earlier entries have the same label, for each of (D,) labels."""
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], labels[order])
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(labels)) - starts
    return ranks


def _overlaps(found: np.ndarray, boxes: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Return the IoU of (D, 4) and (M, 4) XYWH boxes as (D, M), computed as pycocotools does."""
    corner = np.minimum(found[:, None, :2] + found[:, None, 2:], boxes[:, :2] + boxes[:, 2:])
    sides = np.maximum(corner - np.maximum(found[:, None, :2], boxes[:, :2]), 0)
    intersection = sides[..., 0] * sides[..., 1]
    areas = found[:, None, 2] * found[:, None, 3]
    union = np.where(crowd, areas, areas + boxes[:, 2] * boxes[:, 3] - intersection)
    overlaps: np.ndarray = np.divide(
        intersection, union, out=np.zeros_like(intersection), where=intersection > 0
    )
    return overlaps


def _match_greedily(
    overlaps: np.ndarray,
    crowd: np.ndarray,
    thresholds: np.ndarray,
    hits: np.ndarray,
    ignored: np.ndarray,
) -> None:
    """Fill ``hits`` and ``ignored`` (T, D), given (D, M) overlaps, of which -1 never match."""
    count = int((~crowd).sum())
    free = np.ones((len(thresholds), count), dtype=bool)
    for detection in np.flatnonzero(overlaps.max(axis=1) >= thresholds[0]):
        values = overlaps[detection]
        possible = free & (values[:count] >= thresholds[:, None])
        is_hit = possible.any(axis=1)
        hits[:, detection] = is_hit
        if count:
            # argmax gives the first of equal values, COCOeval the last
            best = count - 1 - np.where(possible, values[:count], -1)[:, ::-1].argmax(axis=1)
            free[np.flatnonzero(is_hit), best[is_hit]] = False
        in_crowd = values[count:].max(initial=-1) >= thresholds
        ignored[:, detection] = in_crowd & ~is_hit
