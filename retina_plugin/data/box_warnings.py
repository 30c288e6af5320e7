"""What boxes may be that are read as [x, y, width, height] in pixels, where the evidence is enough
for a warning only."""

from __future__ import annotations

import numpy as np

from retina_plugin.data.box_coordinates import (
    KEY,
    ROUNDING,
    AnnotationPairs,
    BoxCoordinates,
    box_arrays,
    is_outside,
    look_like_fractions,
    to_xyxy,
)

FEW = 3  # boxes that are no accident
MANY = 10  # boxes that would lie in all parts of their images
PERCENT = 100.5  # rounded


def box_warnings(pairs: AnnotationPairs, configured: BoxCoordinates) -> list[str]:
    """Lines on boxes that look like something else, with counts.

    Args:
        pairs: each annotation, its "bbox" [x, y, width, height] in pixels, with its record; may
            be empty. Boxes of masks and those without area are left out.
        configured: nothing is said of what the user states.
    """
    boxes, sizes, of_mask = box_arrays(pairs)
    own = np.flatnonzero(~of_mask & (boxes[:, 2:] > 0).all(axis=1))
    boxes, sizes, pairs = boxes[own], sizes[own], [pairs[i] for i in own]
    if not pairs:
        return []
    lines = [] if configured.unit else [_fractions(pairs, boxes, sizes), _percent(boxes, sizes)]
    if not configured.layout:
        lines.append(_corners(pairs, boxes, sizes))
    return [line for line in (*lines, _another_size(boxes, sizes)) if line]


def _fractions(pairs: AnnotationPairs, boxes: np.ndarray, sizes: np.ndarray) -> str:
    found = look_like_fractions(boxes, sizes) & (boxes % 1 != 0).any(axis=1)
    if not found.any():
        return ""
    return (
        f"{int(found.sum())} of {len(boxes)} boxes lie between 0 and 1, about a pixel large, and "
        f"may be fractions of the image (first: {_example(pairs, found)}): write them in pixels"
    )


def _percent(boxes: np.ndarray, sizes: np.ndarray) -> str:
    """Boxes in the upper left quarter, or less, of every image, that reach up to 100."""
    reach = to_xyxy(boxes, "xywh").max()
    if len(boxes) < MANY or sizes.min() < 2 * 100 or not 50 < reach <= PERCENT:
        return ""
    return (
        f"none of {len(boxes)} boxes reaches beyond 100, though every image is at least "
        f"{int(sizes.min())} pixels wide and high: they may be percent of the image. Look at them "
        "with tools/visualize_data.py, and write them in pixels"
    )


def _corners(pairs: AnnotationPairs, boxes: np.ndarray, sizes: np.ndarray) -> str:
    beyond = is_outside(boxes, sizes, "xywh")
    found = beyond & ~is_outside(boxes, sizes, "xyxy")
    if found.sum() < FEW or 10 * found.sum() < 9 * beyond.sum():
        return ""
    return (
        f"{int(found.sum())} of {int(beyond.sum())} boxes that reach outside lie inside as corners "
        f"[x0, y0, x1, y1] (first: {_example(pairs, found)}): part of the boxes may be corners. "
        f"Write all of them as [x, y, width, height], or set {KEY} to 'xywh' if they are right"
    )


def _another_size(boxes: np.ndarray, sizes: np.ndarray) -> str:
    beyond = is_outside(boxes, sizes, "xywh")
    wholly = (boxes[:, :2] >= sizes + ROUNDING).any(axis=1)
    if wholly.sum() < FEW or 2 * beyond.sum() <= len(boxes):
        return ""
    (right, low), (width, height) = to_xyxy(boxes, "xywh")[:, 2:].max(0), sizes.max(0)
    return (
        f"{int(beyond.sum())} of {len(boxes)} boxes reach outside, {int(wholly.sum())} lie wholly "
        f"there: up to {right:g} in x and {low:g} in y, where no image is larger than "
        f"{width:g}x{height:g}. They may be measured in 0..1000, or in pictures of another size: "
        "write them in pixels of these images"
    )


def _example(pairs: AnnotationPairs, found: np.ndarray) -> str:
    annotation, record = pairs[int(found.argmax())]
    size = f"{record['width']}x{record['height']}"
    return f"annotation {annotation['id']!r}, bbox {annotation['bbox']} in {size}"
