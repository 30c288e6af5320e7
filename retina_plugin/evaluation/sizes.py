"""AP by class and size of the boxes, with intervals over the images."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from retina_plugin.evaluation.bootstrap import Resamples, average_precisions, resample
from retina_plugin.evaluation.matches import IOU_THRESHOLDS, Matches, matches_of
from retina_plugin.evaluation.matching import ALL_AREAS, Areas, match
from retina_plugin.evaluation.overlaps import Overlaps

SMALL, LARGE = 32.0**2, 96.0**2  # square pixels, COCO's limits
RANGES: dict[str, Areas] = {  # the limits belong to both ranges, as in COCO
    "": ALL_AREAS,
    "s": (0.0, SMALL),
    "m": (SMALL, LARGE),
    "l": (LARGE, ALL_AREAS[1]),
}


class SizeAP(NamedTuple):
    """AP of the boxes of one size.

    Attributes:
        ap: AP of all classes in percent; NaN without boxes of this size.
        ap50: the same at IoU 0.5.
        of_classes: (K,) AP of each class; NaN for a class without boxes of this size.
        resamples: see :func:`retina_plugin.evaluation.bootstrap.resample`; None with fewer than two
            images.
    """

    ap: float
    ap50: float
    of_classes: np.ndarray
    resamples: Resamples | None


def ap_of_sizes(overlaps: Overlaps) -> dict[str, SizeAP]:
    """Compute AP for the boxes of all, small, medium and large sizes: "", "s", "m" and "l"."""
    return {
        size: ap_of(
            _without_ignored(
                matches_of(overlaps, match(overlaps, IOU_THRESHOLDS, areas=a), IOU_THRESHOLDS)
            )
        )
        for size, a in RANGES.items()
    }


def ap_of(matches: Matches) -> SizeAP:
    """Compute AP of matches at COCO's IoU thresholds, and of resamples of their images."""
    every_image = np.ones((1, len(matches.boxes)), dtype=np.int64)
    of_classes_and_thresholds = average_precisions(matches, every_image)[0]  # (T, K)
    of_classes = of_classes_and_thresholds.mean(axis=0)
    known = ~np.isnan(of_classes)
    if not known.any():
        return SizeAP(np.nan, np.nan, of_classes, None)
    ap50 = float(of_classes_and_thresholds[0][known].mean())
    return SizeAP(float(of_classes[known].mean()), ap50, of_classes, resample(matches))


def _without_ignored(matches: Matches) -> Matches:
    """Drop the detections that are ignored at all IoU thresholds, to save time.

    In the evaluation of one size, most detections of other sizes are ignored.
    """
    kept = ~matches.ignored.all(axis=0)
    return replace(
        matches,
        images=matches.images[kept],
        classes=matches.classes[kept],
        scores=matches.scores[kept],
        hits=matches.hits[:, kept],
        ignored=matches.ignored[:, kept],
    )
