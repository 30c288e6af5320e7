"""Convert regions of VGG Image Annotator to boxes and classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from retina_plugin.data.errors import DatasetError
from retina_plugin.data.importers.collector import Collector
from retina_plugin.data.importers.flags import flag_name
from retina_plugin.data.importers.json_entries import require_list, require_number
from retina_plugin.data.importers.shapes import Box, ellipse_box, enclosing_box

OPEN = ("point", "polyline", "line")
# if there are several keys, the one with one of these names has the class
CLASS_KEYS = ("class", "label", "category", "class_name", "name", "type", "object")
ONLY_CLASS = "object"


class Region(NamedTuple):
    """The shape and attributes of a region, and its place in the file."""

    shape: Mapping[str, Any]
    attributes: Mapping[str, Any]
    place: str


class ViaImage(NamedTuple):
    """An image: the names that its file may have, the likeliest first; its regions; its place."""

    names: list[str]
    regions: list[Region]
    place: str


def box_of(region: Region, collector: Collector) -> Box | None:
    """Return the box of a region; None, with a note, if it has no area.

    Raises:
        DatasetError: the shape is unknown, or a coordinate is missing or not a number.
    """
    shape, place = region.shape, region.place
    kind = shape.get("name")
    if kind in OPEN:
        collector.note(f"regions of shape {kind!r} have no area and were left out", place)
        return None
    if kind == "rect":
        x, y, width, height = (
            require_number(shape, k, place) for k in ("x", "y", "width", "height")
        )
        return x, y, x + width, y + height
    if kind == "polygon":
        return _polygon_box(shape, place)
    if kind == "circle":
        radius = require_number(shape, "r", place)
        return ellipse_box(_center(shape, place), (radius, radius))
    if kind == "ellipse":
        radii = [require_number(shape, key, place) for key in ("rx", "ry")]
        angle = math.degrees(require_number(shape, "theta", place)) if "theta" in shape else 0.0
        return ellipse_box(_center(shape, place), radii, angle)
    known = ", ".join(("rect", "polygon", "circle", "ellipse", *OPEN))
    raise DatasetError(f"{place}: expected one of {known}; found {kind!r:.80}")


def class_key_of(regions: Sequence[Region], file: str) -> str | None:
    """Return the key of the attribute that has the class: the only key, else the only key in
    :data:`CLASS_KEYS`, else the only key that all regions with an area have. None if none of these
    regions has attributes.

    Raises:
        DatasetError: several attributes could be the class.
    """
    regions = [region for region in regions if region.shape.get("name") not in OPEN]
    keys = list(dict.fromkeys(k for r in regions for k in r.attributes if flag_name(k) is None))
    if not keys:
        return None
    named = [key for key in keys if key.strip().lower() in CLASS_KEYS]
    everywhere = [key for key in keys if all(region.attributes.get(key) for region in regions)]
    for choice in (keys, named, everywhere):
        if len(choice) == 1:
            return choice[0]
    raise DatasetError(
        f"{file}: expected one attribute of regions that has the class, found "
        f"{', '.join(keys)!r:.200}. Rename the attribute that has the class to 'class'."
    )


def classes_of(region: Region, key: str | None, collector: Collector) -> list[str]:
    """Return the classes of a region.

    Args:
        region: its value at the key is text, a number, or the choices of a checkbox, {"cat": true}.
        key: the result of :func:`class_key_of`; for None, the class is "object", with a note.
        collector: gets the notes.

    Raises:
        DatasetError: the region has no class.
    """
    if key is None:
        collector.note(f"regions have no attributes and get the class {ONLY_CLASS!r}", region.place)
        return [ONLY_CLASS]
    value = region.attributes.get(key)
    if isinstance(value, dict):
        names = [str(name) for name, chosen in value.items() if chosen]
    else:
        names = [] if value is None or isinstance(value, (bool, list)) else [str(value)]
    names = [name.strip() for name in names if name.strip()]
    if not names:
        raise DatasetError(
            f"{region.place}: expected a class at {key!r} of the region's attributes, found "
            f"{value!r:.80}"
        )
    if len(names) > 1:
        collector.note("regions have several classes and give a box for each", region.place)
    return names


def _center(shape: Mapping[str, Any], place: str) -> tuple[float, float]:
    return require_number(shape, "cx", place), require_number(shape, "cy", place)


def _polygon_box(shape: Mapping[str, Any], place: str) -> Box:
    xs, ys = (require_list(shape, key, place) for key in ("all_points_x", "all_points_y"))
    if len(xs) != len(ys) or len(xs) < 3:
        raise DatasetError(
            f"{place}: expected at least 3 points, as many x as y; found {len(xs)} and {len(ys)}"
        )
    points = [
        [require_number({"x": x, "y": y}, key, place) for key in ("x", "y")]
        for x, y in zip(xs, ys, strict=True)
    ]
    return enclosing_box(points)
