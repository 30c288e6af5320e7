"""Choose the sizes and aspect ratios of anchors by the share of boxes that they overlap enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rows = tuple[tuple[float, ...], ...]  # numbers for each level
THRESHOLD = 0.5  # anchors with this IoU are positive: the last of IOU_THRESHOLDS
CLOSE = 0.7  # with this IoU, the box regression needs only small corrections
SLACK = 0.02  # how much lower the score may be to have fewer anchors per cell
MAX_BOXES = 3000  # if there are more boxes, a random sample of this size is used
CHUNK = 4096  # boxes that are compared at a time, so that little memory is needed
OFFSETS = 4  # random positions of each box between the centres of cells
SPREADS = (1.33, 1.6, 2.0, 2.5)  # factors between neighbouring aspect ratios


@dataclass(frozen=True)
class AnchorShapes:
    """Anchors of a pyramid.

    Attributes:
        strides: pixels per cell of each level, finest first.
        sizes: for each level, square roots of areas in pixels of the network's input.
        ratios: for each level, height / width.
    """

    strides: tuple[int, ...]
    sizes: tuple[tuple[float, ...], ...]
    ratios: tuple[tuple[float, ...], ...]

    @property
    def per_cell(self) -> int:
        return len(self.sizes[0]) * len(self.ratios[0])

    def shapes(self) -> tuple[Array, Array]:
        """Return (A, 2) widths and heights of all anchors, and (A,) their strides."""
        rows = [
            (size / ratio**0.5, size * ratio**0.5, stride)
            for stride, sizes, ratios in zip(self.strides, self.sizes, self.ratios, strict=True)
            for size in sizes
            for ratio in ratios
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
    positions = np.random.default_rng(seed).uniform(-0.5, 0.5, (len(boxes), OFFSETS, 1, 2))
    parts = [
        _best(boxes[start : start + CHUNK], positions[start : start + CHUNK], *anchors.shapes())
        for start in range(0, len(boxes), CHUNK)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, OFFSETS))


def _best(boxes: Array, positions: Array, shapes: Array, strides: Array) -> Array:
    shift = np.abs(positions * strides[:, None])  # (B, OFFSETS, A, 2)
    box, anchor = boxes[:, None, None], shapes[None, None]  # widths and heights
    overlap = np.minimum(np.minimum(box, anchor), (box + anchor) / 2 - shift).clip(min=0)
    intersection = overlap.prod(axis=-1)
    union = box.prod(axis=-1) + anchor.prod(axis=-1) - intersection
    best: Array = (intersection / union).max(axis=-1)
    return best


def reached_shares(boxes: Array, anchors: AnchorShapes, *, threshold: float = THRESHOLD) -> Array:
    """Return the share of the places at which each box has an anchor of IoU ``threshold`` or more.

    Args:
        boxes: (B, 2) width and height in pixels of the network's input.
        anchors: the anchors of the pyramid.
        threshold: the smallest IoU.

    Returns:
        (B,) from 0 to 1.
    """
    shares: Array = (best_overlaps(boxes, anchors) >= threshold).mean(axis=1)
    return shares


def mean_of_classes(shares: Array, labels: NDArray[np.int64]) -> float:
    """Return the mean over classes of the mean of (B,) shares; classes without boxes are left out.

    Args:
        shares: (B,) a number for each box.
        labels: (B,) classes.
    """
    counts = np.bincount(labels)
    present = counts > 0
    return float((np.bincount(labels, weights=shares)[present] / counts[present]).mean())


def score(
    boxes: Array,
    labels: NDArray[np.int64],
    anchors: AnchorShapes,
    *,
    threshold: float = THRESHOLD,
) -> float:
    """Return the mean over classes of the recall at ``threshold`` and at :data:`CLOSE`, of at most
    :data:`MAX_BOXES` boxes."""
    boxes, labels = _sample(boxes, labels)
    overlaps = best_overlaps(boxes, anchors)
    close = max(CLOSE, threshold)
    reached = [(overlaps >= t).mean(axis=1) for t in (threshold, close)]
    return mean_of_classes(sum(reached) / 2, labels)


def choose_anchors(
    boxes: Array,
    labels: NDArray[np.int64],
    *,
    strides: Sequence[int],
    sizes: Rows = (),
    ratios: Rows = (),
    threshold: float = THRESHOLD,
) -> AnchorShapes:
    """Choose the fewest anchors per cell whose recall, averaged over classes, is nearly the best.

    Sizes form a geometric sequence from the smallest to the largest objects over all levels.
    Aspect ratios are the median of the boxes, alone or with one or two on each side.

    Args:
        boxes: (B, 2) width and height in pixels of the network's input, at training size.
        labels: (B,) classes.
        strides: strides of the levels, finest first.
        sizes, ratios: the sizes and aspect ratios of each level, if the user gives them; else ().
        threshold: IoU from which an anchor is positive.
    """
    boxes, labels = _sample(boxes, labels)  # once, not for each candidate
    scored = [
        (score(boxes, labels, anchors, threshold=threshold), anchors)
        for anchors in _candidates(boxes, labels, tuple(strides), sizes, ratios)
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
    boxes: Array, labels: NDArray[np.int64], strides: tuple[int, ...], sizes: Rows, ratios: Rows
) -> list[AnchorShapes]:
    """Return combinations of sizes and aspect ratios; of only one if the user gives it."""
    all_sizes = [sizes] if sizes else _size_rows(boxes, labels, len(strides))
    all_ratios = [ratios] if ratios else [(row,) * len(strides) for row in _ratio_sets(boxes)]
    return [AnchorShapes(strides, one, other) for one in all_sizes for other in all_ratios]


def _size_rows(boxes: Array, labels: NDArray[np.int64], levels: int) -> list[Rows]:
    """Return combinations of a range of sizes and a number of sizes per level."""
    sizes = np.sqrt(boxes.prod(axis=1))
    present = np.unique(labels)
    found: list[Rows] = []
    for percentile in (1, 5, 10):
        # the range covers every class, also a rare class with other sizes
        low = min(np.percentile(sizes[labels == k], percentile) for k in present)
        high = max(np.percentile(sizes[labels == k], 100 - percentile) for k in present)
        for per_level in (1, 2, 3):
            rows = _geometric(low, high, levels * per_level).reshape(levels, per_level)
            found.append(tuple(tuple(round(float(size), 1) for size in row) for row in rows))
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
