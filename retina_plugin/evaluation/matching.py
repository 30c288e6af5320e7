"""Match detections to boxes as COCOeval does: best score first, each box once.

Axes: T IoU thresholds, D detections, M boxes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from retina_plugin.evaluation.overlaps import Overlaps

Areas = tuple[float, float]  # smallest and largest area, both included; square pixels
ALL_AREAS: Areas = (0.0, math.inf)


class Matching(NamedTuple):
    """The matches of the detections of :class:`retina_plugin.evaluation.overlaps.Overlaps`.

    Attributes:
        found: (T, D) int64, index of the box that a detection found; -1 if it found none.
        ignored: (T, D) bool, whether a detection counts neither as right nor as wrong.
        counted: (M,) bool, whether a box counts: it is not a crowd, and its area is in the range.
    """

    found: np.ndarray
    ignored: np.ndarray
    counted: np.ndarray

    @property
    def hits(self) -> np.ndarray:
        """(T, D) bool, whether a detection found a box that counts."""
        hits: np.ndarray = (self.found >= 0) & ~self.ignored
        return hits


def match(
    overlaps: Overlaps, iou_thresholds: tuple[float, ...], *, areas: Areas = ALL_AREAS
) -> Matching:
    """Match the detections of each image and class, best score first.

    A detection finds the free box with the highest IoU, if this is at least the threshold; of equal
    IoU, the last box. Boxes that count come first. If there is none, the detection may find a box
    that does not count (a crowd, or a box with an area outside of the range) and is then ignored. A
    crowd can be found several times. A detection that finds nothing is ignored if its own area is
    outside of the range.

    Args:
        overlaps: detections and boxes.
        iou_thresholds: ascending, at most 1.
        areas: the range of areas to evaluate.
    """
    # as COCOeval does, because an IoU of 1 may be computed as 1 - 1e-16
    thresholds = np.minimum(iou_thresholds, 1 - 1e-10)
    low, high = areas
    counted = ~overlaps.crowd & (overlaps.areas >= low) & (overlaps.areas <= high)
    found = _match_greedily(overlaps, thresholds, counted)
    of_other_area = (overlaps.detection_areas < low) | (overlaps.detection_areas > high)
    # index -1 reads the appended value
    ignored = np.append(~counted, False)[found] | ((found < 0) & of_other_area)
    return Matching(found, ignored, counted)


def _match_greedily(overlaps: Overlaps, thresholds: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Return "found" of :class:`Matching`."""
    found = np.full((len(thresholds), len(overlaps.scores)), -1)
    taken = np.zeros((len(thresholds), len(overlaps.crowd)), dtype=bool)
    used = overlaps.is_same_class & (overlaps.iou >= thresholds[0])
    boxes, values = overlaps.pair_boxes[used], overlaps.iou[used]
    detections, starts = np.unique(overlaps.pair_detections[used], return_index=True)
    ends = np.append(starts, len(boxes))[1:]
    for detection, start, end in zip(detections, starts, ends, strict=True):
        near, iou = boxes[start:end], values[start:end]
        possible = iou >= thresholds[:, None]
        possible &= ~taken[:, near] | overlaps.crowd[near]
        of_counted = possible & counted[near]
        possible = np.where(of_counted.any(axis=1, keepdims=True), of_counted, possible)
        # argmax gives the first of equal values, COCOeval takes the last
        last_first = np.where(possible, iou, -1)[:, ::-1]
        best = near[len(near) - 1 - last_first.argmax(axis=1)]
        (rows,) = possible.any(axis=1).nonzero()
        found[rows, detection] = best[rows]
        taken[rows, best[rows]] = True
    return found


def found_iou(overlaps: Overlaps, found: np.ndarray) -> np.ndarray:
    """Return the IoU of each detection with the box that it found.

    Args:
        overlaps: detections and boxes.
        found: (D,), one row of "found" of :class:`Matching`.

    Returns:
        (D,), NaN for detections without a box.
    """
    (detections,) = (found >= 0).nonzero()
    boxes = len(overlaps.crowd)
    pairs = overlaps.pair_detections * boxes + overlaps.pair_boxes  # ascending
    places = np.searchsorted(pairs, detections * boxes + found[detections])
    iou = np.full(len(found), math.nan)
    iou[detections] = overlaps.iou[places]
    return iou
