"""Read project files of VGG Image Annotator 3.

A project has files, views of files, and metadata: a region of a view and its attributes. The
region is [shape id, numbers...]; an attribute is text or the id of an option.
Source: https://gitlab.com/vgg/via/-/blob/master/via-3.x.y/CodeDoc.md
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from retina_plugin.data.entry_errors import reading_entry
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.finite import is_number
from retina_plugin.data.importers.json_entries import require_dict, require_list, require_text
from retina_plugin.data.importers.via_regions import Region, ViaImage

IMAGE = 2  # type of a file
LOCAL, INLINE = 1, 4  # locations of a file whose "src" is not a path
TEXT, CHECKBOX = 1, 2  # types of an attribute; the others are options of which one is chosen
POINT, RECTANGLE, CIRCLE, ELLIPSE, LINE, POLYLINE, POLYGON, EXTREME_RECTANGLE, EXTREME_CIRCLE = (
    range(1, 10)
)
# shape id: (name in VIA 2, names of the numbers); the other shapes have corners
FIXED = {
    RECTANGLE: ("rect", ("x", "y", "width", "height")),
    CIRCLE: ("circle", ("cx", "cy", "r")),
    ELLIPSE: ("ellipse", ("cx", "cy", "rx", "ry")),
}
OPEN = {POINT: "point", LINE: "line", POLYLINE: "polyline"}


def read_project(
    content: Mapping[str, Any], file: str, notes: list[tuple[str, str]]
) -> list[ViaImage]:
    """Return the images of a project with their regions, in the shapes of VIA 2.

    Args:
        content: the JSON object.
        file: its path, for messages.
        notes: a (text, place) pair is added for each entry that is left out.

    Raises:
        DatasetError: an entry is invalid, or a view with regions has several files.
    """
    files, views, attributes, entries = (
        require_dict(content.get(key), f"{file}, {key!r}")
        for key in ("file", "view", "attribute", "metadata")
    )
    prefixes = _prefixes(content)
    images: dict[str, ViaImage] = {}  # by the id of the view
    for view_id, view in views.items():
        with reading_entry(f"{file}, view {view_id!r}"):
            image = _image(view_id, view, files, prefixes, file, notes)
            if image is not None:
                images[view_id] = image
    for key, entry in entries.items():
        place = f"{file}, entry {key!r:.80} of 'metadata'"
        with reading_entry(place):
            _add_region(images, require_dict(entry, place), views, attributes, place, notes)
    return list(images.values())


def _prefixes(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return {location: prefix of the paths there}."""
    found: Any = content
    for key in ("config", "file", "loc_prefix"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _image(
    view_id: str,
    view: Any,
    files: Mapping[str, Any],
    prefixes: Mapping[str, Any],
    file: str,
    notes: list[tuple[str, str]],
) -> ViaImage | None:
    """Return the image of a view; None, with a note, if the view has another file or several."""
    place = f"{file}, view {view_id!r:.80}"
    ids = require_list(require_dict(view, place), "fid_list", place)
    if len(ids) != 1:
        notes.append(("views of several files are not used", place))
        return None
    place = f"{file}, file {ids[0]!r:.80}"
    entry = require_dict(files.get(str(ids[0])), place)
    if entry.get("type", IMAGE) != IMAGE:
        notes.append(("files are videos or sounds and are not used", place))
        return None
    return ViaImage(_names(entry, prefixes, place), [], place)


def _names(entry: Mapping[str, Any], prefixes: Mapping[str, Any], place: str) -> list[str]:
    """Return the names that the image file may have, the likeliest first."""
    name, source = require_text(entry, "fname", place), entry.get("src")
    if entry.get("loc") in (LOCAL, INLINE) or not isinstance(source, str) or not source:
        return [name]
    prefix = prefixes.get(str(entry.get("loc")))
    return list(dict.fromkeys([f"{prefix or ''}{source}", source, name]))


def _add_region(
    images: Mapping[str, ViaImage],
    entry: Mapping[str, Any],
    views: Mapping[str, Any],
    attributes: Mapping[str, Any],
    place: str,
    notes: list[tuple[str, str]],
) -> None:
    view_id = str(entry.get("vid"))
    if view_id not in views:
        raise DatasetError(f"{place}: expected a key of 'view' at 'vid', found {view_id!r:.80}")
    numbers = require_list(entry, "xy", place)
    if not numbers:
        notes.append(("entries describe files or times without a region and are not used", place))
    elif view_id not in images or entry.get("z"):
        notes.append(("regions of videos, or of views of several files, are not used", place))
    else:
        values = require_dict(entry.get("av"), f"{place}, 'av'")
        given = {key: value for key, value in values.items() if value not in (None, "")}
        named = dict(_attribute(key, value, attributes, place) for key, value in given.items())
        images[view_id].regions.append(Region(_shape(numbers, place), named, place))


def _attribute(
    key: str, value: Any, attributes: Mapping[str, Any], place: str
) -> tuple[str, str | dict[str, bool]]:
    """Return the name and value of an attribute, in the form of VIA 2."""
    attribute = require_dict(attributes.get(key), f"{place}: attribute {key!r:.80}")
    name = require_text(attribute, "aname", f"{place}: attribute {key!r:.80}")
    kind, options = attribute.get("type", TEXT), attribute.get("options") or {}
    if kind == TEXT or not options:
        return name, str(value)
    chosen = str(value).split(",") if kind == CHECKBOX else [str(value)]
    unknown = [choice for choice in chosen if choice not in options]
    if unknown:
        raise DatasetError(
            f"{place}: expected an option of attribute {name!r}, found {unknown[0]!r:.80}; it has "
            f"{', '.join(options)!r:.200}"
        )
    names = [str(options[choice]) for choice in chosen]
    return name, dict.fromkeys(names, True) if kind == CHECKBOX else names[0]


def _shape(numbers: list[Any], place: str) -> dict[str, Any]:
    """Return a region in the form of VIA 2."""
    if not all(map(is_number, numbers)):
        raise DatasetError(f"{place}: expected numbers at 'xy', found {numbers!r:.80}")
    kind, values = numbers[0], [float(number) for number in numbers[1:]]
    if kind in OPEN:
        return {"name": OPEN[kind]}
    if kind in FIXED:
        name, keys = FIXED[kind]
        return {"name": name, **dict(zip(keys, values, strict=False))}
    xs, ys = values[::2], values[1::2]
    if kind == EXTREME_CIRCLE and len(values) == 6:
        return _circle_through(list(zip(xs, ys, strict=True)), place)
    if kind in (POLYGON, EXTREME_RECTANGLE, EXTREME_CIRCLE):
        return {"name": "polygon", "all_points_x": xs, "all_points_y": ys}
    raise DatasetError(f"{place}: expected a shape 1..9 at 'xy', found {kind!r}")


def _circle_through(points: list[tuple[float, float]], place: str) -> dict[str, Any]:
    """Return the circle through three points."""
    (x0, y0), (x1, y1), (x2, y2) = points
    # the centre relative to the first point solves two linear equations
    a, b, c, d = x1 - x0, y1 - y0, x2 - x0, y2 - y0
    determinant = 2 * (a * d - b * c)
    if determinant == 0:
        raise DatasetError(f"{place}: expected 3 points of a circle, found points in a line")
    first, second = a * a + b * b, c * c + d * d
    dx, dy = (d * first - b * second) / determinant, (a * second - c * first) / determinant
    return {"name": "circle", "cx": x0 + dx, "cy": y0 + dy, "r": math.hypot(dx, dy)}
