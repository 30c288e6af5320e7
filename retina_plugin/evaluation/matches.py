"""The matches of a data set, for score thresholds, curves and intervals of AP.

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
from retina_plugin.evaluation.matching import Matching, match
from retina_plugin.evaluation.overlaps import Overlaps, compute_overlaps

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
        hits: (T, D) bool, whether it found a box that is not a crowd.
        ignored: (T, D) bool, whether it lies in a crowd and so counts neither as right nor as
            wrong.
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
    """Match the detections of each image and class with boxes of all sizes.

    Args:
        dataset, results, max_detections: see
            :func:`retina_plugin.evaluation.overlaps.compute_overlaps`.
        iou_thresholds: ascending, at most 1.
    """
    overlaps = compute_overlaps(dataset, results, max_detections=max_detections)
    return matches_of(overlaps, match(overlaps, iou_thresholds), iou_thresholds)


def matches_of(
    overlaps: Overlaps, matching: Matching, iou_thresholds: tuple[float, ...]
) -> Matches:
    """Sort the detections of a matching by class and score."""
    return sort_matches(
        Matches(
            class_names=overlaps.class_names,
            iou_thresholds=iou_thresholds,
            images=overlaps.detection_images,
            classes=overlaps.labels,
            scores=overlaps.scores,
            hits=matching.hits,
            ignored=matching.ignored,
            boxes=overlaps.box_counts(matching.counted),
        )
    )


def merge(parts: Sequence[Matches]) -> Matches:
    """Merge the matches of data sets with the same classes, as if they were one data set."""
    first = np.cumsum([0, *(len(part.boxes) for part in parts)])
    return sort_matches(
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


def sort_matches(matches: Matches) -> Matches:
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
