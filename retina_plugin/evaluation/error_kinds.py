"""Sort errors into the six kinds of TIDE (Bolya et al., arXiv 2008.08115) at IoU 0.5.

A detection finds a box if it is matched to it as for AP. It is an error if it finds no box and is
not in a crowd. It has the first kind that applies:

1. background, if its image has no boxes;
2. misplaced: its highest IoU with a box of its class is in [0.1, 0.5);
3. wrong class: its highest IoU with a box of another class is at least 0.5;
4. duplicate: its IoU with a box of its class that another detection found is at least 0.5;
5. background: its highest IoU with any box is at most 0.1;
6. both, wrong class and misplaced: all others.

The box with the highest IoU in kind 2 or 3 is the target of the error. A box is missed if no
detection found it and it is not a target. This is the order of TIDE's code; the paper has kind 3
before kind 2. In TIDE's code, a detection in a crowd can be an error too. Detections of all scores
are used.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from retina_plugin.evaluation.matching import Matching
from retina_plugin.evaluation.overlaps import Overlaps

KINDS = ("wrong class", "misplaced", "both", "duplicate", "background", "missed")
WRONG_CLASS, MISPLACED, BOTH, DUPLICATE, BACKGROUND, MISSED = range(6)
IOU = 0.5  # lowest IoU of a detection and the box that it finds
NEAR = 0.1  # lowest IoU of a misplaced detection and its target


class Errors(NamedTuple):
    """The errors of a data set.

    Attributes:
        kinds: (D,) int64, index in :data:`KINDS` for each detection; -1 if it is not an error.
        targets: (D,) int64, index of the target box of a misplaced or wrong-class detection; -1
            for other detections.
        fixable: (D,) bool, whether the detection would find its target if it were corrected: no
            detection found the target, and no other detection with this target has a higher score.
        missed: (M,) bool, whether a box is missed.
    """

    kinds: np.ndarray
    targets: np.ndarray
    fixable: np.ndarray
    missed: np.ndarray


def find_errors(overlaps: Overlaps, matching: Matching) -> Errors:
    """Sort the errors into kinds.

    Args:
        overlaps: detections and boxes.
        matching: matches whose first IoU threshold is :data:`IOU`, for boxes of all sizes.
    """
    same = overlaps.is_same_class
    is_found = _is_found(matching)
    own_iou, own_box = _best_pairs(overlaps, same)
    other_iou, other_box = _best_pairs(overlaps, ~same)
    found_iou, _ = _best_pairs(overlaps, same & is_found[overlaps.pair_boxes])
    box_counts = np.bincount(overlaps.box_images[matching.counted], minlength=overlaps.images)
    kinds = np.select(
        [
            (matching.found[0] >= 0) | matching.ignored[0],
            box_counts[overlaps.detection_images] == 0,
            (own_iou >= NEAR) & (own_iou < IOU),
            other_iou >= IOU,
            found_iou >= IOU,
            np.maximum(own_iou, other_iou) <= NEAR,
        ],
        [-1, BACKGROUND, MISPLACED, WRONG_CLASS, DUPLICATE, BACKGROUND],
        BOTH,
    )
    targets = np.select([kinds == MISPLACED, kinds == WRONG_CLASS], [own_box, other_box], -1)
    is_aimed_at = np.zeros(len(is_found), dtype=bool)
    is_aimed_at[targets[targets >= 0]] = True
    fixable = _best_of_targets(overlaps.scores, targets, is_found)
    return Errors(kinds, targets, fixable, matching.counted & ~is_found & ~is_aimed_at)


def _is_found(matching: Matching) -> np.ndarray:
    """Return (M,) bool, whether a detection found a box."""
    is_found = np.zeros(len(matching.counted), dtype=bool)
    is_found[matching.found[0][matching.hits[0]]] = True
    return is_found


def _best_pairs(overlaps: Overlaps, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the highest IoU (D,) of each detection in the used pairs (P,), and the box (D,).

    Crowds are left out. Without a pair, the IoU is 0 and the box -1; of equal values, the first box
    is taken.
    """
    (pairs,) = (used & ~overlaps.crowd[overlaps.pair_boxes]).nonzero()
    order = pairs[np.lexsort((-pairs, overlaps.iou[pairs]))]  # the best are last
    iou = np.zeros(len(overlaps.scores))
    boxes = np.full(len(overlaps.scores), -1)
    detections = overlaps.pair_detections[order]
    iou[detections] = overlaps.iou[order]  # the last value of each detection stays
    boxes[detections] = overlaps.pair_boxes[order]
    return iou, boxes


def _best_of_targets(scores: np.ndarray, targets: np.ndarray, is_found: np.ndarray) -> np.ndarray:
    """Return (D,) bool, whether a detection has the highest score for a target that was not found;
    of equal scores, the first detection."""
    (aiming,) = (targets >= 0).nonzero()
    aiming = aiming[~is_found[targets[aiming]]]
    order = aiming[np.lexsort((aiming, -scores[aiming], targets[aiming]))]
    best = np.zeros(len(scores), dtype=bool)
    best[order[np.unique(targets[order], return_index=True)[1]]] = True
    return best
