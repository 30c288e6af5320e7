"""Convert regions of Label Studio to boxes and classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retina_plugin.data.importers.collector import Collector
from retina_plugin.data.importers.json_entries import require_number, require_points
from retina_plugin.data.importers.shapes import Box, ellipse_box, enclosing_box, rotated_box


def is_shape(value: Any) -> bool:
    """Return whether the value of a region is a rectangle, an ellipse or a polygon."""
    if not isinstance(value, dict):
        return False
    corner = {"x", "y"} <= value.keys() and "rle" not in value
    return "points" in value or (corner and bool(value.keys() & {"height", "radiusY"}))


def labels_of(region: Mapping[str, Any]) -> list[str]:
    """Return the classes of a region, from "rectanglelabels", "labels" and similar keys."""
    value = region.get("value")
    if not isinstance(value, dict):
        return []
    return [
        label.strip()
        for key, labels in value.items()
        if key.endswith("labels") and isinstance(labels, list)
        for label in labels
        if isinstance(label, str) and label.strip()
    ]


def box_of(
    value: Mapping[str, Any], scale: tuple[float, float], collector: Collector, place: str
) -> Box:
    """Return the box of a region in pixels; ``scale`` is pixels per percent, in x and y."""
    if "points" in value:
        points = require_points(value, "points", place, 3)
        return enclosing_box([(x * scale[0], y * scale[1]) for x, y in points])
    angle = require_number(value, "rotation", place) if value.get("rotation") is not None else 0.0
    if angle:
        collector.note("rotated shapes were replaced by their enclosing boxes", place)
    x = require_number(value, "x", place) * scale[0]
    y = require_number(value, "y", place) * scale[1]
    if "radiusY" in value:  # of an ellipse, x and y are the centre
        radii = [require_number(value, key, place) for key in ("radiusX", "radiusY")]
        return ellipse_box((x, y), (radii[0] * scale[0], radii[1] * scale[1]), angle)
    width = require_number(value, "width", place) * scale[0]
    height = require_number(value, "height", place) * scale[1]
    return rotated_box((x, y, x + width, y + height), angle, (x, y))
