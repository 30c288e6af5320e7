"""The confusion matrix of a detector with background, at one operating point.

Projects compute this matrix in different ways. Here the diagonal and the sums of rows and columns
equal the counts of :mod:`retina_plugin.evaluation.operating_point`: detections and boxes of the
same class are paired first, as for AP. The remaining detections and boxes are then paired with
those of other classes, highest IoU first. Each is paired at most once.
"""

from __future__ import annotations

import numpy as np

from retina_plugin.evaluation.matching import Matching
from retina_plugin.evaluation.operating_point import kept_detections
from retina_plugin.evaluation.overlaps import Overlaps

IOU = 0.5  # smallest IoU of a pair


def confusion_matrix(overlaps: Overlaps, matching: Matching, thresholds: np.ndarray) -> np.ndarray:
    """Count the pairs of true and detected classes.

    Args:
        overlaps: detections and boxes.
        matching: matches whose first IoU threshold is :data:`IOU`.
        thresholds: (K,), see :class:`retina_plugin.evaluation.operating_point.OperatingPoint`.

    Returns:
        (K + 1, K + 1) int64: rows are true classes and columns are detected ones. Index K is
        background: row K has detections without a box, column K has boxes that were not detected.
        Crowds and detections in them are left out.
    """
    classes = len(thresholds)
    kept = kept_detections(overlaps, thresholds) & ~matching.ignored[0]
    (hits,) = (matching.hits[0] & kept).nonzero()
    partners = np.full(len(overlaps.scores), -1)  # box of each detection
    partners[hits] = matching.found[0, hits]
    _pair_others(overlaps, kept, matching.counted, partners)
    (detections,) = kept.nonzero()
    # index -1 reads the appended background
    of_boxes = np.append(overlaps.box_labels, classes)[partners[detections]]
    free = matching.counted.copy()
    free[partners[partners >= 0]] = False
    matrix = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    np.add.at(matrix, (of_boxes, overlaps.labels[detections]), 1)
    np.add.at(matrix, (overlaps.box_labels[free], classes), 1)
    return matrix


def _pair_others(
    overlaps: Overlaps, kept: np.ndarray, counted: np.ndarray, partners: np.ndarray
) -> None:
    """Pair the kept detections without a partner with free boxes of other classes, in place."""
    free = counted.copy()
    free[partners[partners >= 0]] = False
    detections, boxes = overlaps.pair_detections, overlaps.pair_boxes
    possible = (overlaps.iou >= IOU) & ~overlaps.is_same_class
    possible &= kept[detections] & (partners[detections] < 0) & free[boxes]
    (pairs,) = possible.nonzero()
    for pair in pairs[np.argsort(-overlaps.iou[pairs], kind="stable")]:
        detection, box = detections[pair], boxes[pair]
        if partners[detection] < 0 and free[box]:
            partners[detection], free[box] = box, False
