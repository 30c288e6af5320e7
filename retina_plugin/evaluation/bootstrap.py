"""Estimate how much AP depends on the chosen images, by resampling the images.

The images of a data set are drawn again with replacement, as many as there are, and AP is computed
for each draw (Efron, 1979). Percentiles of these values are the ends of an interval. An image that
is drawn twice counts twice. The detections are matched only once, because a match does not depend
on other images. Repeated images raise AP a little: COCO takes the highest precision at each recall
or above, and this maximum grows with the noise. Therefore all values are shifted such that their
mean is the AP of the data set.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from retina_plugin.evaluation.matches import Matches

RESAMPLES = 200
SEED = 0
CONFIDENCE = 95  # percent of the resamples in the interval
RECALLS = np.linspace(0, 1, 101)  # at which COCO samples the precision
MAX_CELLS = 1 << 22  # resamples times detections at once: 32 MB for each array


class Interval(NamedTuple):
    """The ends of an interval, in percent."""

    low: float
    high: float

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


class Resamples(NamedTuple):
    """AP of B resamples in percent, shifted so that their mean is the AP of the data set.

    Attributes:
        ap, ap50: (B,) COCO's AP and AP50; NaN for a resample without boxes.
        of_classes: (B, K) AP of each class; NaN for a class without boxes in the resample.
        images: number of images of each resample.
    """

    ap: np.ndarray
    ap50: np.ndarray
    of_classes: np.ndarray
    images: int


def resample(matches: Matches, *, count: int = RESAMPLES, seed: int = SEED) -> Resamples | None:
    """Compute AP of ``count`` resamples of the images.

    Args:
        matches: matches at COCO's IoU thresholds.
        count: number of resamples.
        seed: seed of the draws.

    Returns:
        None with fewer than two images: all resamples would be equal.
    """
    images = len(matches.boxes)
    if images < 2:
        return None
    weights = np.random.default_rng(seed).multinomial(
        images, np.full(images, 1 / images), size=count
    )
    weights = np.concatenate([np.ones((1, images), dtype=weights.dtype), weights])
    precisions = average_precisions(matches, weights)
    of_classes = precisions.mean(axis=1)
    return Resamples(
        ap=_shifted(_mean(of_classes, axis=1)),
        ap50=_shifted(_mean(precisions[:, 0], axis=1)),
        of_classes=_shifted(of_classes),
        images=images,
    )


def interval_of(values: np.ndarray) -> Interval | None:
    """Return the interval of :data:`CONFIDENCE` percent of (B,) values, cut to 0..100.

    None if all values are NaN.
    """
    values = values[~np.isnan(values)]
    if not values.size:
        return None
    tail = (100 - CONFIDENCE) / 2
    low, high = np.percentile(values, [tail, 100 - tail]).clip(0, 100)
    return Interval(float(low), float(high))


def average_precisions(matches: Matches, weights: np.ndarray) -> np.ndarray:
    """Compute COCO's average precision of weighted images.

    Args:
        matches: the matched detections.
        weights: (B, I) integers, how often each image counts; 1 for all gives COCO's AP.

    Returns:
        (B, T, K) in percent; NaN where a class has no boxes.
    """
    totals = weights @ matches.boxes  # (B, K)
    shape = (len(weights), len(matches.iou_thresholds), len(matches.class_names))
    averages = np.full(shape, math.nan)
    for number, part in enumerate(matches.of_classes()):
        rows = max(1, MAX_CELLS // max(part.stop - part.start, 1))
        with_boxes = np.flatnonzero(totals[:, number])
        for chunk in np.array_split(with_boxes, math.ceil(len(with_boxes) / rows) or 1):
            averages[chunk, :, number] = _of_class(
                weights[np.ix_(chunk, matches.images[part])],
                totals[chunk, number],
                matches.hits[:, part],
                matches.ignored[:, part],
            )
    return 100 * averages


def _of_class(
    weights: np.ndarray, totals: np.ndarray, hits: np.ndarray, ignored: np.ndarray
) -> np.ndarray:
    """Compute the average precision of one class in 0..1.

    Precision only rises at detections that found a box, so its envelope needs only these.

    Args:
        weights: (B, D), how often each detection counts.
        totals: (B,), number of boxes, above 0.
        hits, ignored: (T, D).

    Returns:
        (B, T).
    """
    seen = weights.cumsum(axis=1)
    averages = np.zeros((len(weights), len(hits)))
    for number, (hit, ignore) in enumerate(zip(hits, ignored, strict=True)):
        (places,) = hit.nonzero()
        counted = seen[:, places]
        if ignore.any():
            counted = counted - (weights * ignore).cumsum(axis=1)[:, places]
        found = weights[:, places].cumsum(axis=1)
        precision = found / np.maximum(counted, 1)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        # how many recalls of the grid are reached
        reached = np.searchsorted(RECALLS, found / totals[:, None], side="right")
        steps = np.diff(reached, axis=1, prepend=0)
        averages[:, number] = (envelope * steps).sum(axis=1) / len(RECALLS)
    return averages


def _shifted(values: np.ndarray) -> np.ndarray:
    """Shift values of resamples so that their mean is the value of the data set.

    Args:
        values: (1 + B, ...); the first entry is the value of the data set.

    Returns:
        (B, ...).
    """
    shifted: np.ndarray = values[1:] - _mean(values[1:], axis=0) + values[0]
    return shifted


def _mean(values: np.ndarray, *, axis: int) -> np.ndarray:
    """Return the mean of the values that are not NaN; NaN without any."""
    known = ~np.isnan(values)
    sums, counts = np.where(known, values, 0).sum(axis=axis), known.sum(axis=axis)
    return np.where(counts > 0, sums / np.maximum(counts, 1), math.nan)
