"""Find likely label errors: annotations that confident detections disagree with.

The images must not be training images, because a model repeats the errors that it has learned.
A detection is confident if its score is at least the mean score of the detections of its class that
found a box (the threshold of confident learning: Northcutt et al., arXiv 1911.00068). A box is
accepted if a detection with at least the score threshold of its class found it. The four kinds
follow ObjectLab (Tkachenko et al., arXiv 2309.00832):

- overlooked: a confident detection has IoU of at most 0.1 with every box of the image;
- wrong class: a confident detection of another class has IoU of at least 0.5 with a box that is not
  accepted;
- misplaced: the box of its class that a confident detection overlaps most has IoU in [0.1, 0.5)
  with it, and the box is not accepted;
- spurious: no detection of any score and class has IoU of at least 0.5 with the box, and the box is
  not misplaced.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from retina_plugin.evaluation.error_kinds import BACKGROUND, MISPLACED, Errors
from retina_plugin.evaluation.matching import Matching
from retina_plugin.evaluation.operating_point import kept_detections
from retina_plugin.evaluation.overlaps import Overlaps
from retina_plugin.evaluation.sizes import LARGE, SMALL

IOU = 0.5
OVERLOOKED, WRONG_CLASS, MISPLACED_BOX, SPURIOUS = (
    "overlooked",
    "wrong class",
    "misplaced",
    "spurious",
)


class LabelError(NamedTuple):
    """A likely label error.

    Attributes:
        kind: one of the four kinds.
        suspicion: 0..1; a higher value is more suspicious. It is the score of the detection; for a
            spurious box, the share of the boxes of its class and size that are accepted.
        detection: index of the detection; -1 for a spurious box.
        box: index of the box; -1 for an overlooked object.
    """

    kind: str
    suspicion: float
    detection: int
    box: int


def image_of(error: LabelError, overlaps: Overlaps) -> int:
    """Return the index of the record of an error."""
    if error.box >= 0:
        return int(overlaps.box_images[error.box])
    return int(overlaps.detection_images[error.detection])


def find_label_errors(
    overlaps: Overlaps, matching: Matching, errors: Errors, thresholds: np.ndarray
) -> list[LabelError]:
    """Find likely errors, the most suspicious first.

    Args:
        overlaps, matching, errors: see :func:`retina_plugin.evaluation.error_kinds.find_errors`.
        thresholds: (K,), see :class:`retina_plugin.evaluation.operating_point.OperatingPoint`.
    """
    confident = overlaps.scores >= _confident_scores(overlaps, matching)[overlaps.labels]
    confident &= (matching.found[0] < 0) & ~matching.ignored[0]
    accepted = _accepted_boxes(overlaps, matching, thresholds)
    doubtful = matching.counted & ~accepted
    wrong_class = _wrong_class(overlaps, confident, doubtful)
    misplaced = _misplaced(overlaps, errors, confident, doubtful)
    spurious = _spurious(overlaps, matching, accepted, {e.box for e in misplaced})
    found = [*_overlooked(overlaps, errors, confident), *wrong_class, *misplaced, *spurious]
    return sorted(found, key=lambda error: -error.suspicion)


def _confident_scores(overlaps: Overlaps, matching: Matching) -> np.ndarray:
    """Return the mean score (K,) of the hits of each class; infinite for a class without hits."""
    hits = matching.hits[0]
    classes = len(overlaps.class_names)
    counts = np.bincount(overlaps.labels[hits], minlength=classes)
    sums = np.bincount(overlaps.labels[hits], weights=overlaps.scores[hits], minlength=classes)
    # the mean of equal scores may be computed as slightly more
    scores: np.ndarray = np.where(counts > 0, sums / np.maximum(counts, 1) - 1e-9, np.inf)
    return scores


def _accepted_boxes(overlaps: Overlaps, matching: Matching, thresholds: np.ndarray) -> np.ndarray:
    accepted = np.zeros(len(overlaps.crowd), dtype=bool)
    kept = matching.hits[0] & kept_detections(overlaps, thresholds)
    accepted[matching.found[0][kept]] = True
    return accepted


def _overlooked(overlaps: Overlaps, errors: Errors, confident: np.ndarray) -> list[LabelError]:
    """Return confident detections far from every box.

    If several overlap each other by IoU 0.5 or more, only the one with the highest score is
    returned.
    """
    (candidates,) = (confident & (errors.kinds == BACKGROUND)).nonzero()
    chosen: dict[int, list[int]] = {}  # image -> detections
    for detection in candidates[np.argsort(-overlaps.scores[candidates], kind="stable")].tolist():
        others = chosen.setdefault(int(overlaps.detection_images[detection]), [])
        if all(_iou(overlaps.corners[detection], overlaps.corners[o]) < IOU for o in others):
            others.append(detection)
    return [
        LabelError(OVERLOOKED, float(overlaps.scores[detection]), detection, -1)
        for detections in chosen.values()
        for detection in detections
    ]


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    intersection = float(sides.clip(min=0).prod())
    total = float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod())
    return intersection / max(total - intersection, 1e-12)


def _wrong_class(
    overlaps: Overlaps, confident: np.ndarray, doubtful: np.ndarray
) -> list[LabelError]:
    near = (overlaps.iou >= IOU) & ~overlaps.is_same_class
    near &= confident[overlaps.pair_detections] & doubtful[overlaps.pair_boxes]
    pairs = overlaps.pair_detections[near], overlaps.pair_boxes[near]
    return _best_of_boxes(WRONG_CLASS, overlaps, *pairs)


def _misplaced(
    overlaps: Overlaps, errors: Errors, confident: np.ndarray, doubtful: np.ndarray
) -> list[LabelError]:
    (detections,) = (confident & (errors.kinds == MISPLACED)).nonzero()
    detections = detections[doubtful[errors.targets[detections]]]
    return _best_of_boxes(MISPLACED_BOX, overlaps, detections, errors.targets[detections])


def _best_of_boxes(
    kind: str, overlaps: Overlaps, detections: np.ndarray, boxes: np.ndarray
) -> list[LabelError]:
    """Return an error for each box, with the detection that has the highest score."""
    order = np.lexsort((-overlaps.scores[detections], boxes))
    first = order[np.unique(boxes[order], return_index=True)[1]]
    return [
        LabelError(kind, float(overlaps.scores[detection]), int(detection), int(box))
        for detection, box in zip(detections[first], boxes[first], strict=True)
    ]


def _spurious(
    overlaps: Overlaps, matching: Matching, accepted: np.ndarray, explained: set[int]
) -> list[LabelError]:
    covered = np.zeros(len(accepted), dtype=bool)
    covered[overlaps.pair_boxes[overlaps.iou >= IOU]] = True
    groups = overlaps.box_labels * 3 + np.digitize(overlaps.areas, [SMALL, LARGE])
    counts = np.bincount(groups[matching.counted])
    shares = np.bincount(groups[accepted], minlength=len(counts)) / np.maximum(counts, 1)
    return [
        LabelError(SPURIOUS, float(shares[groups[box]]), -1, box)
        for box in (matching.counted & ~covered).nonzero()[0].tolist()
        if box not in explained
    ]
