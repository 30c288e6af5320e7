"""Parse rows of YOLO's label files: ``class cx cy w h`` or ``class x1 y1 x2 y2 x3 y3 ...``, in
fractions of the image size.

Source: https://docs.ultralytics.com/datasets/detect/
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from retina_plugin.data.errors import DatasetError
from retina_plugin.data.finite import parse_number
from retina_plugin.data.importers.shapes import Box, enclosing_box

TOLERANCE = 0.01  # fractions may be outside 0..1 by this much: annotation tools round
CONFIDENCE = "rows have a 6th column, a confidence, which was ignored"
POLYGON = "rows are polygons, which were replaced by their enclosing boxes"


class Row(NamedTuple):
    """One object.

    Attributes:
        label: index of the class.
        box: left, top, right and bottom edge, as fractions of the image size.
    """

    label: int
    box: Box


def parse_row(
    line: str, place: str, *, num_classes: int | None, keypoints: int, note: Callable[[str], None]
) -> Row:
    """Read a row.

    Args:
        line: a line that is not blank.
        place: file and line, for messages.
        num_classes: None to allow any class index.
        keypoints: how many numbers follow the box and are ignored; 0 for boxes and polygons.
        note: called with the text of each note.

    Raises:
        DatasetError: the number of values is wrong, the class is unknown, or a coordinate is not a
            fraction.
    """
    values = [_number(word, place) for word in line.split()]
    if len(values) < 5:
        raise DatasetError(
            f"{place}: expected class, centre x, centre y, width and height, found "
            f"{len(values)} values in {line.strip()!r:.80}"
        )
    label = _label(values[0], place, num_classes)
    if len(values) in (5, 6) or (keypoints and len(values) == 5 + keypoints):
        if len(values) == 6:
            note(CONFIDENCE)
        return Row(label, _box(_fractions(values[1:5], place)))
    if len(values) % 2 == 0:
        raise DatasetError(
            f"{place}: expected 5 values, 6 with a confidence, or a class and pairs of x and y; "
            f"found {len(values)} values"
        )
    note(POLYGON)
    corners = _fractions(values[1:], place)
    return Row(label, enclosing_box(list(zip(corners[::2], corners[1::2], strict=True))))


def is_row(line: str) -> bool:
    """Return whether a line looks like a row of a label file."""
    words = line.split()
    try:
        values = [float(word) for word in words]
    except ValueError:
        return False
    return len(values) >= 5 and values[0] >= 0 and values[0].is_integer()


def _number(word: str, place: str) -> float:
    value = parse_number(word)
    if value is None:
        raise DatasetError(f"{place}: expected numbers, found {word!r:.80}")
    return value


def _label(value: float, place: str, num_classes: int | None) -> int:
    last = "" if num_classes is None else f"..{num_classes - 1}"
    if value != int(value) or value < 0 or (num_classes is not None and value >= num_classes):
        raise DatasetError(
            f"{place}: expected a class 0{last or ', 1, ...'}, found {value:g}. Correct the row, "
            "or add the class to names"
        )
    return int(value)


def _fractions(values: Sequence[float], place: str) -> Sequence[float]:
    bad = [value for value in values if not -TOLERANCE <= value <= 1 + TOLERANCE]
    if bad:
        unit = "; values above 1 may be pixels" if max(bad) > 2 else ""
        raise DatasetError(
            f"{place}: expected fractions of the image size in 0..1, found {bad[0]:g}{unit}. "
            "Divide x and width by the width of the image, y and height by its height"
        )
    return values


def _box(values: Sequence[float]) -> Box:
    x, y, width, height = values
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2
