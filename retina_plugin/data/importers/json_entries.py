"""Entries of JSON files of other programs: values of an expected kind, or an error with the
place."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from retina_plugin.data.errors import DatasetError
from retina_plugin.data.finite import is_number
from retina_plugin.data.importers.shapes import Point


def require_list(entry: Mapping[str, Any], key: str, place: str) -> list[Any]:
    """The list at a key.

    Raises:
        DatasetError: there is none.
    """
    value = entry.get(key)
    if not isinstance(value, list):
        raise DatasetError(f"{place}: expected a list at {key!r}, found {_shown(entry, key)}")
    return value


def require_dict(value: Any, place: str) -> dict[str, Any]:
    """An entry that is an object.

    Raises:
        DatasetError: it is none.
    """
    if not isinstance(value, dict):
        raise DatasetError(f"{place}: expected an object, found {reprlib.repr(value)}")
    return value


def require_text(entry: Mapping[str, Any], key: str, place: str) -> str:
    """Text at a key, not empty and without spaces around it.

    Raises:
        DatasetError: there is none.
    """
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise DatasetError(f"{place}: expected text at {key!r}, found {_shown(entry, key)}")
    return value.strip()


def require_number(entry: Mapping[str, Any], key: str, place: str) -> float:
    """A finite number at a key.

    Raises:
        DatasetError: there is none.
    """
    value = entry.get(key)
    if not is_number(value):
        raise DatasetError(f"{place}: expected a number at {key!r}, found {_shown(entry, key)}")
    return float(entry[key])


def require_points(entry: Mapping[str, Any], key: str, place: str, least: int = 1) -> list[Point]:
    """A list of points [x, y] at a key.

    Raises:
        DatasetError: fewer than ``least``, or something else.
    """
    points = require_list(entry, key, place)
    for number, point in enumerate(points):
        if not (isinstance(point, list) and len(point) == 2 and all(map(is_number, point))):
            raise DatasetError(
                f"{place}: expected two numbers as point {number} of {key!r}, found "
                f"{reprlib.repr(point)}"
            )
    if len(points) < least:
        raise DatasetError(
            f"{place}: expected at least {least} points at {key!r}, found {len(points)}"
        )
    return [(float(x), float(y)) for x, y in points]


def image_size_of(entry: Mapping[str, Any], keys: tuple[str, str], place: str) -> dict[str, int]:
    """Width and height, {"width": 640, "height": 480}; empty if one is missing, null or 0.

    Args:
        keys: of width and height.

    Raises:
        DatasetError: no whole numbers.
    """
    values = [entry.get(key) for key in keys]
    for key, value in zip(keys, values, strict=True):
        if value is not None and not (is_number(value) and value >= 0 and value % 1 == 0):
            raise DatasetError(
                f"{place}: expected a whole number of pixels at {key!r}, found {_shown(entry, key)}"
            )
    if not all(values):
        return {}
    return {"width": int(entry[keys[0]]), "height": int(entry[keys[1]])}


def _shown(entry: Mapping[str, Any], key: str) -> str:
    return reprlib.repr(entry[key]) if key in entry else "nothing"
