"""Warnings about boxes that may not be [x, y, width, height] in pixels.

The evidence here is too weak for an error; :mod:`retina_plugin.data.box_coordinates` raises errors.
"""

from __future__ import annotations

import numpy as np

from retina_plugin.data.annotation_names import AnnotationNames
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

MIN_OUTSIDE = 3  # fewer boxes outside their image may be single mistakes
MIN_FOR_PERCENT = 10  # with fewer boxes, it may be chance that all lie in the upper left quarter
MAX_PERCENT = 100.5  # with a margin for rounding


def box_warnings(
    pairs: AnnotationPairs, configured: BoxCoordinates, names: AnnotationNames
) -> list[str]:
    """Return warnings, with counts, about boxes that look like fractions, percent, corners or boxes
    of another image size.

    Args:
        pairs: (annotation, record) pairs, with "bbox" as [x, y, width, height] in pixels; may be
            empty. Boxes made from masks and boxes without area are skipped.
        configured: the coordinates from the config. If it sets the unit, nothing is said about
            fractions and percent; if it sets the layout, nothing is said about corners.
        names: names of annotations for the messages.
    """
    boxes, sizes, of_mask = box_arrays(pairs)
    kept = [int(i) for i in np.flatnonzero(~of_mask & (boxes[:, 2:] > 0).all(axis=1))]
    boxes, sizes, pairs = boxes[kept], sizes[kept], [pairs[i] for i in kept]
    if not pairs:
        return []
    lines = (
        [] if configured.unit else [_fractions(pairs, boxes, sizes, names), _percent(boxes, sizes)]
    )
    if not configured.layout:
        lines.append(_corners(pairs, boxes, sizes, names))
    return [line for line in (*lines, _other_size(boxes, sizes)) if line]


def _fractions(
    pairs: AnnotationPairs, boxes: np.ndarray, sizes: np.ndarray, names: AnnotationNames
) -> str:
    found = look_like_fractions(boxes, sizes) & (boxes % 1 != 0).any(axis=1)
    if not found.any():
        return ""
    return (
        f"{int(found.sum())} of {len(boxes)} boxes lie between 0 and 1 (first: "
        f"{_example(pairs, found, names)}): they may be fractions of the image. Write them in "
        "pixels"
    )


def _percent(boxes: np.ndarray, sizes: np.ndarray) -> str:
    """Warn if no box reaches beyond 100 although all images are at least 200 pixels large."""
    reach = to_xyxy(boxes, "xywh").max()
    if len(boxes) < MIN_FOR_PERCENT or sizes.min() < 2 * 100 or not 50 < reach <= MAX_PERCENT:
        return ""
    return (
        f"none of {len(boxes)} boxes reaches beyond 100, though every image is at least "
        f"{int(sizes.min())} pixels wide and high: they may be percent of the image. Look at them "
        "with tools/visualize_data.py, and write them in pixels"
    )


def _corners(
    pairs: AnnotationPairs, boxes: np.ndarray, sizes: np.ndarray, names: AnnotationNames
) -> str:
    crossing = is_outside(boxes, sizes, "xywh")
    found = crossing & ~is_outside(boxes, sizes, "xyxy")
    if found.sum() < MIN_OUTSIDE or 10 * found.sum() < 9 * crossing.sum():
        return ""
    return (
        f"{int(crossing.sum())} boxes reach outside their image, but {int(found.sum())} of them "
        f"would lie inside if they were corners [x0, y0, x1, y1] (first: "
        f"{_example(pairs, found, names)}). Write all boxes as [x, y, width, height], or set "
        f"{KEY} to 'xywh' if they are correct"
    )


def _other_size(boxes: np.ndarray, sizes: np.ndarray) -> str:
    crossing = is_outside(boxes, sizes, "xywh")
    fully_outside = (boxes[:, :2] >= sizes + ROUNDING).any(axis=1)
    if fully_outside.sum() < MIN_OUTSIDE or 2 * crossing.sum() <= len(boxes):
        return ""
    (right, low), (width, height) = to_xyxy(boxes, "xywh")[:, 2:].max(0), sizes.max(0)
    return (
        f"{int(crossing.sum())} of {len(boxes)} boxes reach outside their image, "
        f"{int(fully_outside.sum())} lie completely outside: x goes up to {right:g} and y up to "
        f"{low:g}, but no image is larger than {width:g}x{height:g}. They may be measured in "
        "0..1000, or in images of another size: write them in pixels of these images"
    )


def _example(pairs: AnnotationPairs, found: np.ndarray, names: AnnotationNames) -> str:
    annotation, record = pairs[int(found.argmax())]
    size = f"{record['width']}x{record['height']}"
    return f"{names.of(annotation, record)}, bbox {annotation['bbox']} in {size}"
