"""Choose the score threshold of each class with the highest F1, for use outside of evaluations.

:func:`retina_plugin.evaluation.matches.match_detections` matches at IoU 0.5. The
detections must have all scores, see :mod:`retina_plugin.evaluation.unfiltered`: a threshold below
a filter cannot be found. COCO metrics never use thresholds, because AP is an average over all of
them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from retina_plugin.evaluation.matches import Matches

NO_BOX = "no box"
NO_DETECTION = "no detection"
NO_HIT = "no detection that finds a box"


class Threshold(NamedTuple):
    """A detection is kept if its score is at least ``score``.

    Attributes:
        score: the threshold; None if none can be chosen.
        f1: its F1 in 0..1.
        reason: why ``score`` is None; "" otherwise.
    """

    score: float | None
    f1: float = 0.0
    reason: str = ""


def score_thresholds(matches: Matches) -> dict[str, Threshold]:
    """Choose the threshold of each class by F1 at the lowest IoU threshold of ``matches``.

    F1 = 2 TP / (detections + boxes), where detections in crowds and crowds do not count. The
    threshold is the score of the last detection that is kept. Of several thresholds with the same
    F1, the highest is chosen.

    Args:
        matches: matches of a data set, or of several data sets; see
            :func:`retina_plugin.evaluation.matches.merge`.

    Returns:
        {class name: threshold}, for all K classes.
    """
    boxes = matches.boxes.sum(axis=0)
    return {
        name: _choose(
            matches.scores[part], matches.hits[0, part], matches.ignored[0, part], int(count)
        )
        for name, part, count in zip(matches.class_names, matches.of_classes(), boxes, strict=True)
    }


def _choose(scores: np.ndarray, hits: np.ndarray, ignored: np.ndarray, boxes: int) -> Threshold:
    """Choose the threshold of a class from its (D,) detections by descending score."""
    if not boxes or not len(scores):
        return Threshold(None, reason=NO_DETECTION if boxes else NO_BOX)
    if not hits.any():
        return Threshold(None, reason=NO_HIT)
    f1 = 2 * hits.cumsum() / ((~ignored).cumsum() + boxes)
    # detections with equal scores are kept together: only the last of them ends a threshold
    ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
    best = ends[f1[ends].argmax()]  # the first maximum has the highest score
    return Threshold(float(scores[best]), float(f1[best]))
