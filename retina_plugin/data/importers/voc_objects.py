"""Read the objects of Pascal VOC's XML files."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

from retina_plugin.data.errors import DatasetError
from retina_plugin.data.finite import parse_number
from retina_plugin.data.importers.shapes import Box
from retina_plugin.data.importers.voc_offset import EXACT, KEY, OFFSETS, voc_offset
from retina_plugin.data.importers.xml_file import Element

CORNERS = ("xmin", "ymin", "xmax", "ymax")
FROM_ZERO = (
    f"boxes have xmin or ymin 0, so their files count pixels from 0: set {KEY} to 'none' if all "
    "files do so"
)


class VocObject(NamedTuple):
    """One object.

    Attributes:
        class_name: the class.
        box: left, top, right and bottom edge in pixels.
        difficult: 0 or 1.
    """

    class_name: str
    box: Box
    difficult: int


def read_object(element: Element, *, note: Callable[[str, str], None]) -> VocObject:
    """Read an ``<object>``.

    Args:
        element: has "name", "bndbox" and perhaps "difficult".
        note: called with the text and the place of each note.

    Raises:
        DatasetError: the name or box is missing, or a value is invalid.
    """
    name = element.text_at("name")
    if not name:
        raise DatasetError(f"{element.place}: expected a <name> in <object>, found none")
    box = next(element.find_all("bndbox"), None)
    if box is None:
        found = ", ".join(f"<{child.tag}>" for child in element.children)
        raise DatasetError(f"{element.place}: expected <bndbox> in <object>, found {found}")
    low, high = OFFSETS[voc_offset()]
    if low:
        _require_pixels(box)
    left, top, right, bottom = (
        _edge(box, key, offset) for key, offset in zip(CORNERS, (low, low, high, high), strict=True)
    )
    for part in element.find_all("part"):
        note("boxes of <part> are parts of objects and were skipped", part.place)
    if low and min(left, top) == -low:
        note(FROM_ZERO, element.place)
    return VocObject(name, (left, top, right, bottom), _difficult(element))


def _require_pixels(box: Element) -> None:
    """Refuse fractions: pixels count from 1, so xmin and ymin are not below 1.

    Raises:
        DatasetError: all corners lie in 0..1, and these below 1.
    """
    values = [parse_number(box.text_at(key)) for key in CORNERS]
    left, top, right, bottom = (2.0 if value is None else value for value in values)
    if 0 <= left < right <= 1 and 0 <= top < bottom <= 1:
        raise DatasetError(
            f"{box.place}: expected pixels in <bndbox>, found {left:g}, {top:g}, {right:g}, "
            f"{bottom:g}, which are fractions of the image. Multiply x by its width and y by its "
            "height"
        )


def _edge(box: Element, key: str, offset: float) -> float:
    """Return the number at a key minus an offset, as :func:`add_offset` has added it."""
    text = box.text_at(key)
    if parse_number(text) is None:
        raise DatasetError(f"{box.place}: expected a number in <{key}>, found {text!r:.80}")
    return float(EXACT.subtract(Decimal(text), Decimal(offset)))


def _difficult(element: Element) -> int:
    text = element.text_at("difficult").lower()
    values = {"": 0, "0": 0, "1": 1, "false": 0, "true": 1, "unspecified": 0}
    if text not in values:
        raise DatasetError(f"{element.place}: expected 0 or 1 in <difficult>, found {text!r:.80}")
    return values[text]
