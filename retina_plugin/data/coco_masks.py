"""Boxes of masks, for annotations that have a segmentation but no box."""

from __future__ import annotations

from typing import Any


def fill_boxes(annotations: list[Any]) -> list[str]:
    """Give annotations without a box the box of their segmentation, in place, and mark them with
    "box_of_mask".

    A box is missing if "bbox" is left out, null or empty. Annotations whose segmentation has no box
    either stay as they are.

    Args:
        annotations: entries that nobody has checked yet.

    Returns:
        A line with the count and the first; empty if nothing was filled in.
    """
    filled = []
    for annotation in annotations:
        if isinstance(annotation, dict) and annotation.get("bbox") in (None, []):
            box = box_of(annotation.get("segmentation"))
            if box is not None:
                annotation.update(bbox=box, box_of_mask=True)
                filled.append(annotation)
    if not filled:
        return []
    return [
        f"{len(filled)} of {len(annotations)} annotations have no bbox, their segmentation's box "
        "was taken "
        f"(first: annotation {filled[0].get('id')})"
    ]


def box_of(segmentation: Any) -> list[float] | None:
    """[x, y, width, height] around polygons [[x0, y0, x1, y1, ...], ...] or a run-length encoded
    mask; None if it is neither."""
    if isinstance(segmentation, dict):
        return _box_of_runs(segmentation)
    if not isinstance(segmentation, list) or not all(
        isinstance(ring, list) for ring in segmentation
    ):
        return None
    numbers = [value for ring in segmentation for value in ring]
    if not numbers or any(len(ring) % 2 for ring in segmentation):
        return None
    if not all(
        isinstance(value, (int, float)) and not isinstance(value, bool) for value in numbers
    ):
        return None
    x = [value for ring in segmentation for value in ring[::2]]
    y = [value for ring in segmentation for value in ring[1::2]]
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]


def _box_of_runs(mask: dict[str, Any]) -> list[float] | None:
    """The box of {"size": [height, width], "counts": runs or text}."""
    from pycocotools import mask as masks

    try:
        height, width = mask["size"]
        runs = (
            mask
            if isinstance(mask["counts"], (str, bytes))
            else masks.frPyObjects(mask, height, width)
        )
        return [float(value) for value in masks.toBbox(runs)]
    except (KeyError, TypeError, ValueError):  # no mask in COCO's format
        return None
