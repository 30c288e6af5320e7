"""Read values of an expected type from JSON files of other programs; errors name the place."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from retina_plugin.data.errors import DatasetError
from retina_plugin.data.finite import is_number
from retina_plugin.data.importers.shapes import Point


def require_list(entry: Mapping[str, Any], key: str, place: str) -> list[Any]:
    """Return the list at a key.

    Raises:
        DatasetError: the value is missing or not a list.
    """
    value = entry.get(key)
    if not isinstance(value, list):
        raise DatasetError(f"{place}: expected a list at {key!r}, found {_shown(entry, key)}")
    return value


def require_dict(value: Any, place: str) -> dict[str, Any]:
    """Return ``value``, which must be a JSON object.

    Raises:
        DatasetError: it is not an object.
    """
    if not isinstance(value, dict):
        raise DatasetError(f"{place}: expected an object, found {reprlib.repr(value)}")
    return value


def require_text(entry: Mapping[str, Any], key: str, place: str) -> str:
    """Return the text at a key, without spaces around it.

    Raises:
        DatasetError: the value is missing, empty or not text.
    """
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise DatasetError(f"{place}: expected text at {key!r}, found {_shown(entry, key)}")
    return value.strip()


def require_number(entry: Mapping[str, Any], key: str, place: str) -> float:
    """Return the number at a key.

    Raises:
        DatasetError: the value is missing or not a finite number.
    """
    value = entry.get(key)
    if not is_number(value):
        raise DatasetError(f"{place}: expected a number at {key!r}, found {_shown(entry, key)}")
    return float(entry[key])


def require_points(entry: Mapping[str, Any], key: str, place: str, least: int = 1) -> list[Point]:
    """Return the list of points [x, y] at a key.

    Raises:
        DatasetError: the value is not such a list, or has fewer than ``least`` points.
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
    """Return {"width": 640, "height": 480}; empty if one of both is missing, null or 0.

    Args:
        keys: the keys of width and height.

    Raises:
        DatasetError: a value is not a non-negative integer.
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
