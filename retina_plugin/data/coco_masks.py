"""Compute boxes for annotations that have a segmentation but no box."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from retina_plugin.data.finite import is_number

MISSING, EMPTY = "have no bbox", "have a bbox without area"


def fill_boxes(annotations: list[Any]) -> list[str]:
    """Set the "bbox" of annotations without a box to that of their segmentation, in place.

    An annotation has no box if "bbox" is missing, null or empty, or if its width or height is 0 but
    the segmentation's is not. A filled annotation gets the key "box_of_mask". An annotation whose
    segmentation has no box stays unchanged.

    Args:
        annotations: unchecked entries of the JSON file.

    Returns:
        A warning with count and first example for missing boxes and for boxes without area.
    """
    filled: dict[str, list[Any]] = {MISSING: [], EMPTY: []}
    for annotation in annotations:
        kind = _box_problem(annotation)
        box = box_of_segmentation(annotation.get("segmentation")) if kind else None
        if box is not None and (kind == MISSING or min(box[2:]) > 0):
            annotation.update(bbox=box, box_of_mask=True)
            filled[kind].append(annotation)
    return [
        f"{len(found)} of {len(annotations)} annotations {kind}, their segmentation's box "
        f"was taken (first: annotation {found[0].get('id')})"
        for kind, found in filled.items()
        if found
    ]


def _box_problem(annotation: Any) -> str:
    """Return MISSING or EMPTY, or "" if the box has an area or is invalid in another way."""
    if not isinstance(annotation, dict):
        return ""
    box = annotation.get("bbox")
    if box in (None, []):
        return MISSING
    sides = box[2:] if isinstance(box, list) and len(box) == 4 and all(map(is_number, box)) else [1]
    return EMPTY if min(sides) == 0 else ""


def box_of_segmentation(segmentation: Any) -> list[float] | None:
    """Return [x, y, width, height] around polygons [[x0, y0, x1, y1, ...], ...] or a run-length
    encoded (RLE) mask.

    Returns None for an invalid segmentation, such as one with infinite numbers or with runs longer
    than the mask.
    """
    if isinstance(segmentation, dict):
        return _box_of_rle(segmentation)
    if not isinstance(segmentation, list) or not all(
        isinstance(ring, list) for ring in segmentation
    ):
        return None
    numbers = [value for ring in segmentation for value in ring]
    if not numbers or any(len(ring) % 2 for ring in segmentation):
        return None
    if not all(map(is_number, numbers)):
        return None
    x = [value for ring in segmentation for value in ring[::2]]
    y = [value for ring in segmentation for value in ring[1::2]]
    box = [min(x), min(y), max(x) - min(x), max(y) - min(y)]
    return box if all(map(is_number, box)) else None


def _box_of_rle(mask: dict[str, Any]) -> list[float] | None:
    """Return the box of {"size": [height, width], "counts": list or text}; zeros if the mask is
    empty."""
    size, runs = mask.get("size"), mask.get("counts")
    if isinstance(runs, str):
        runs = _decode_runs(runs)
    if not (isinstance(size, list) and len(size) == 2 and isinstance(runs, list)):
        return None
    if not all(isinstance(v, int) and not isinstance(v, bool) and v >= 0 for v in (*size, *runs)):
        return None
    height, width = size
    ends = list(accumulate(runs))
    if not ends or ends[-1] > height * width:
        return None
    foreground = [(ends[i - 1], ends[i]) for i in range(1, len(ends), 2) if runs[i]]
    if not foreground:
        return [0.0] * 4
    left, right = foreground[0][0] // height, (foreground[-1][1] - 1) // height
    rows = [row for run in foreground for row in _rows(*run, height)]
    top, bottom = min(rows), max(rows)
    return [float(v) for v in (left, top, right - left + 1, bottom - top + 1)]


def _rows(start: int, end: int, height: int) -> tuple[int, int]:
    """Return first and last row of a run of pixels; COCO numbers pixels column by column."""
    if start // height != (end - 1) // height:
        return 0, height - 1
    return start % height, (end - 1) % height


def _decode_runs(text: str) -> list[int] | None:
    """Decode COCO's text form of run lengths; return None if the text is invalid.

    From the fourth run on, the text has the difference to the run two places before.
    """
    runs: list[int] = []
    for number in _decode_numbers(text):
        if number is None:
            return None
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
    return runs


def _decode_numbers(text: str) -> Iterator[int | None]:
    """Yield the signed numbers of COCO's RLE text; yield None where the text is invalid.

    A character holds 5 bits of a number, lowest first; its bit 5 is set if more characters follow.
    """
    value = shift = 0
    more = False
    for code in (ord(letter) - 48 for letter in text):
        if not 0 <= code < 64:
            yield None
            return
        value |= (code & 31) << shift
        shift += 5
        more = bool(code & 32)
        if not more:
            yield value - (1 << shift) if code & 16 else value
            value = shift = 0
    if more:
        yield None
