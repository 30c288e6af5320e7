"""Boxes of masks, for annotations that have a segmentation but no box."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from retina_plugin.data.finite import is_number

MISSING, FLAT = "have no bbox", "have a bbox without area"


def fill_boxes(annotations: list[Any]) -> list[str]:
    """Give annotations without a box the box of their segmentation, in place, and mark them with
    "box_of_mask".

    A box is missing if "bbox" is left out, null or empty, or if its width or height is 0 and the
    segmentation's are not. Annotations whose segmentation has no box either stay as they are.

    Args:
        annotations: entries that nobody has checked yet.

    Returns:
        A line with the count and the first for each of the two kinds that was filled in.
    """
    filled: dict[str, list[Any]] = {MISSING: [], FLAT: []}
    for annotation in annotations:
        kind = _lacks(annotation)
        box = box_of(annotation.get("segmentation")) if kind else None
        if box is not None and (kind == MISSING or min(box[2:]) > 0):
            annotation.update(bbox=box, box_of_mask=True)
            filled[kind].append(annotation)
    return [
        f"{len(found)} of {len(annotations)} annotations {kind}, their segmentation's box "
        f"was taken (first: annotation {found[0].get('id')})"
        for kind, found in filled.items()
        if found
    ]


def _lacks(annotation: Any) -> str:
    """What is wrong with the box of an entry; empty if nothing, or if it is another mistake."""
    if not isinstance(annotation, dict):
        return ""
    box = annotation.get("bbox")
    if box in (None, []):
        return MISSING
    sides = box[2:] if isinstance(box, list) and len(box) == 4 and all(map(is_number, box)) else [1]
    return FLAT if min(sides) == 0 else ""


def box_of(segmentation: Any) -> list[float] | None:
    """[x, y, width, height] around polygons [[x0, y0, x1, y1, ...], ...] or a run-length encoded
    mask; None if it is neither: numbers that are not finite, runs that are longer than the mask."""
    if isinstance(segmentation, dict):
        return _box_of_runs(segmentation)
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


def _box_of_runs(mask: dict[str, Any]) -> list[float] | None:
    """The box of {"size": [height, width], "counts": runs or text}; zeros if nothing is set."""
    size, runs = mask.get("size"), mask.get("counts")
    if isinstance(runs, str):
        runs = _runs_of_text(runs)
    if not (isinstance(size, list) and len(size) == 2 and isinstance(runs, list)):
        return None
    if not all(isinstance(v, int) and not isinstance(v, bool) and v >= 0 for v in (*size, *runs)):
        return None
    height, width = size
    ends = list(accumulate(runs))
    if not ends or ends[-1] > height * width:
        return None
    pieces = [(ends[i - 1], ends[i]) for i in range(1, len(ends), 2) if runs[i]]
    if not pieces:
        return [0.0] * 4
    left, right = pieces[0][0] // height, (pieces[-1][1] - 1) // height
    rows = [row for piece in pieces for row in _rows(*piece, height)]
    top, bottom = min(rows), max(rows)
    return [float(v) for v in (left, top, right - left + 1, bottom - top + 1)]


def _rows(start: int, end: int, height: int) -> tuple[int, int]:
    """First and last row of a run of pixels, which are counted down the columns."""
    if start // height != (end - 1) // height:
        return 0, height - 1
    return start % height, (end - 1) % height


def _runs_of_text(text: str) -> list[int] | None:
    """COCO's text form: numbers of 5 bits a character, from the third run on the difference to the
    one before the last; None if it is no such text."""
    runs: list[int] = []
    for number in _numbers_of_text(text):
        if number is None:
            return None
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
    return runs


def _numbers_of_text(text: str) -> Iterator[int | None]:
    """Signed numbers, low bits first; bit 5 says that more follow. None where the text is
    broken."""
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
