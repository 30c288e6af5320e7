"""Choose where the labels of boxes go, so that they hide no objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from retina_plugin.report.drawing.boxes import Corners

LabelMode = Literal["auto", "all", "none"]
LABEL_MODES: tuple[LabelMode, ...] = ("auto", "all", "none")

# the share of a box that all labels together may cover with "auto"
MOST_HIDDEN = 0.12
TAG_COST = 100.0  # of covering a whole label, in whole boxes


def place_labels(
    boxes: np.ndarray,
    sizes: np.ndarray,
    image_size: tuple[int, int],
    *,
    order: Sequence[int],
    mode: LabelMode,
) -> list[Corners | None]:
    """Choose the position of each label at its box and inside the image.

    A label goes where it covers the smallest shares of boxes and no other label; outside of its
    box above it, if possible.

    Args:
        boxes: (M, 4) int, corners of the boxes.
        sizes: (M, 2) int, width and height of the labels.
        image_size: width and height of the image.
        order: indices of the boxes, the first to be placed first.
        mode: "auto" leaves out labels that are larger than the image, cover another label, or cover
            more than 12% of a box together with the labels before; "all" places all; "none" none.

    Returns:
        The M rectangles; None for a label that is left out.
    """
    places: list[Corners | None] = [None] * len(boxes)
    if mode == "none" or not len(boxes):
        return places
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1).astype(np.float64)
    hidden = np.zeros(len(boxes))  # share of each box
    placed = np.zeros((0, 4), dtype=np.int64)
    for i in order:
        candidates = _candidates(boxes[i], sizes[i], image_size)
        shares = _overlaps(candidates, boxes) / areas
        tags = _overlaps(candidates, placed).sum(axis=1) / sizes[i].prod()
        if mode == "auto":
            too_much = (shares > 0) & (shares + hidden > MOST_HIDDEN)
            fits = (candidates[:, 2:] <= image_size).all(axis=1)
            allowed = fits & (tags == 0) & ~too_much.any(axis=1)
            candidates, shares, tags = candidates[allowed], shares[allowed], tags[allowed]
            if not len(candidates):
                continue
        best = int(np.argmin(shares.sum(axis=1) + TAG_COST * tags))
        hidden += shares[best]
        placed = np.concatenate([placed, candidates[[best]]])
        x0, y0, x1, y1 = candidates[best].tolist()
        places[i] = x0, y0, x1, y1
    return places


def _candidates(box: np.ndarray, size: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Return possible rectangles (S, 4) of a label, the most usual first."""
    (x0, y0, x1, y1), (width, height) = box.tolist(), size.tolist()
    left, right, middle = x0 - 1, x1 + 1 - width, (x0 + x1 - width) // 2
    above, below = y0 - 1 - height, y1 + 1
    top, bottom, centre = y0 - 1, y1 + 1 - height, (y0 + y1 - height) // 2
    before, behind = x0 - 1 - width, x1 + 1
    corners = [(x, y) for y in (above, below) for x in (left, right, middle)]
    corners += [(x, y) for x in (behind, before) for y in (top, bottom, centre)]
    corners += [(x, y) for y in (top, bottom) for x in (left, right)]
    # a label that leaves the image is moved into it
    low = np.array(corners)
    low = np.minimum(low, np.array(image_size) - size).clip(min=0)
    return np.concatenate([low, low + size], axis=1)


def _overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the areas (S, T) that rectangles (S, 4) and (T, 4) share."""
    x0, y0, x1, y1 = first.T[:, :, None]
    widths = np.minimum(x1, second[:, 2]) - np.maximum(x0, second[:, 0])
    heights = np.minimum(y1, second[:, 3]) - np.maximum(y0, second[:, 1])
    areas: np.ndarray = np.maximum(widths, 0) * np.maximum(heights, 0)
    return areas
