"""Choose the sizes and aspect ratios of anchors by the share of boxes that they overlap enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
THRESHOLD = 0.5  # anchors with this IoU are positive: the last of IOU_THRESHOLDS
CLOSE = 0.7  # with this IoU, the box regression needs only small corrections
SLACK = 0.02  # how much lower the score may be to have fewer anchors per cell
MAX_BOXES = 3000  # if there are more boxes, a random sample of this size is used
OFFSETS = 4  # random positions of each box between the centres of cells
SPREADS = (1.33, 1.6, 2.0, 2.5)  # factors between neighbouring aspect ratios


@dataclass(frozen=True)
class AnchorShapes:
    """Anchors of a pyramid.

    Attributes:
        strides: pixels per cell of each level, finest first.
        sizes: for each level, square roots of areas in pixels of the network's input.
        ratios: height / width, the same for each level.
    """

    strides: tuple[int, ...]
    sizes: tuple[tuple[float, ...], ...]
    ratios: tuple[float, ...]

    @property
    def per_cell(self) -> int:
        return len(self.sizes[0]) * len(self.ratios)

    def shapes(self) -> tuple[Array, Array]:
        """Return (A, 2) widths and heights of all anchors, and (A,) their strides."""
        rows = [
            (size / ratio**0.5, size * ratio**0.5, stride)
            for stride, sizes in zip(self.strides, self.sizes, strict=True)
            for size in sizes
            for ratio in self.ratios
        ]
        table = np.asarray(rows, dtype=np.float64)
        return table[:, :2], table[:, 2]


def best_overlaps(boxes: Array, anchors: AnchorShapes, *, seed: int = 0) -> Array:
    """Return the IoU of each box with its best anchor.

    The nearest centre of a cell is up to half a stride away in x and y. Each box is put at
    :data:`OFFSETS` random positions between centres.

    Args:
        boxes: (B, 2) width and height in pixels of the network's input.
        anchors: the anchors of the pyramid.
        seed: the seed of the positions.

    Returns:
        (B, OFFSETS) from 0 to 1.
    """
    shapes, strides = anchors.shapes()
    positions = np.random.default_rng(seed).uniform(-0.5, 0.5, (len(boxes), OFFSETS, 1, 2))
    shift = np.abs(positions * strides[:, None])  # (B, OFFSETS, A, 2)
    box, anchor = boxes[:, None, None], shapes[None, None]  # widths and heights
    overlap = np.minimum(np.minimum(box, anchor), (box + anchor) / 2 - shift).clip(min=0)
    intersection = overlap.prod(axis=-1)
    union = box.prod(axis=-1) + anchor.prod(axis=-1) - intersection
    best: Array = (intersection / union).max(axis=-1)
    return best


def recall(
    boxes: Array, labels: NDArray[np.int64], anchors: AnchorShapes, *, threshold: float = THRESHOLD
) -> Array:
    """Return the share of boxes of each class with an anchor of IoU ``threshold`` or more.

    Args:
        boxes: (B, 2) width and height in pixels of the network's input.
        labels: (B,) classes.
        anchors: the anchors of the pyramid.
        threshold: the smallest IoU.

    Returns:
        (K,) with K one more than the largest label; NaN for a class without boxes.
    """
    return _shares_of_classes(best_overlaps(boxes, anchors) >= threshold, labels)


def _shares_of_classes(reached: NDArray[np.bool_], labels: NDArray[np.int64]) -> Array:
    counts = np.bincount(labels)
    with np.errstate(invalid="ignore"):
        shares: Array = np.bincount(labels, weights=reached.mean(axis=1)) / counts
    return shares


def _score(boxes: Array, labels: NDArray[np.int64], anchors: AnchorShapes) -> float:
    """Return the mean over classes of the recall at :data:`THRESHOLD` and at :data:`CLOSE`."""
    overlaps = best_overlaps(boxes, anchors)
    shares = [_shares_of_classes(overlaps >= t, labels) for t in (THRESHOLD, CLOSE)]
    return float(np.nanmean(shares))


def choose_anchors(
    boxes: Array, labels: NDArray[np.int64], *, strides: Sequence[int]
) -> AnchorShapes:
    """Choose the fewest anchors per cell whose recall, averaged over classes, is nearly the best.

    Sizes form a geometric sequence from the smallest to the largest objects over all levels.
    Aspect ratios are the median of the boxes, alone or with one or two on each side.

    Args:
        boxes: (B, 2) width and height in pixels of the network's input, at training size.
        labels: (B,) classes.
        strides: strides of the levels, finest first.
    """
    boxes, labels = _sample(boxes, labels)
    scored = [
        (_score(boxes, labels, anchors), anchors)
        for anchors in _candidates(boxes, labels, tuple(strides))
    ]
    best = max(score for score, _ in scored)
    good = [item for item in scored if item[0] >= best - SLACK]
    return min(good, key=lambda item: (item[1].per_cell, -item[0]))[1]


def _sample(boxes: Array, labels: NDArray[np.int64]) -> tuple[Array, NDArray[np.int64]]:
    if len(boxes) <= MAX_BOXES:
        return boxes, labels
    chosen = np.random.default_rng(0).choice(len(boxes), MAX_BOXES, replace=False)
    return boxes[chosen], labels[chosen]


def _candidates(
    boxes: Array, labels: NDArray[np.int64], strides: tuple[int, ...]
) -> list[AnchorShapes]:
    """Return combinations of size ranges, sizes per level and aspect ratios."""
    sizes = np.sqrt(boxes.prod(axis=1))
    present = np.unique(labels)
    found = []
    for percentile in (1, 5, 10):
        # the range covers every class, also a rare class with other sizes
        low = min(np.percentile(sizes[labels == k], percentile) for k in present)
        high = max(np.percentile(sizes[labels == k], 100 - percentile) for k in present)
        for per_level in (1, 2, 3):
            ladder = _geometric(low, high, len(strides) * per_level)
            rows = tuple(
                tuple(round(float(size), 1) for size in row)
                for row in ladder.reshape(len(strides), per_level)
            )
            found += [AnchorShapes(strides, rows, ratios) for ratios in _ratio_sets(boxes)]
    return found


def _geometric(low: float, high: float, count: int) -> Array:
    """Return ``count`` sizes from ``low`` to ``high``; their geometric mean if ``count`` is 1."""
    if count == 1:
        return np.array([(low * high) ** 0.5])
    # steps of at least 10%: anchors of closer sizes overlap the same boxes
    high = max(high, low * 1.1 ** (count - 1))
    return np.geomspace(low, high, count)


def _ratio_sets(boxes: Array) -> list[tuple[float, ...]]:
    middle = float(np.exp(np.median(np.log(boxes[:, 1] / boxes[:, 0]))))
    if 0.9 < middle < 1.1:
        middle = 1.0
    sets: list[tuple[float, ...]] = [(_rounded(middle),)]
    for spread in SPREADS:
        sets.append(tuple(_rounded(middle * spread**k) for k in (-0.5, 0.5)))
        sets.append(tuple(_rounded(middle * spread**k) for k in (-1, 0, 1)))
    return sets


def _rounded(ratio: float) -> float:
    """Round to two decimals, and ratios below 0.1 to two digits, so that none becomes 0."""
    return round(ratio, 2) if ratio >= 0.1 else float(f"{ratio:.2g}")
