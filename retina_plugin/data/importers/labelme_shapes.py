"""Convert the shapes of LabelMe's JSON to boxes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from retina_plugin.data.errors import DatasetError
from retina_plugin.data.importers.collector import Collector
from retina_plugin.data.importers.json_entries import require_points
from retina_plugin.data.importers.shapes import Box, ellipse_box, enclosing_box

# kind of shape -> least number of points
CLOSED = {"polygon": 3, "rectangle": 2, "mask": 2, "rotation": 4, "oriented_rectangle": 4}
TURNED = ("rotation", "oriented_rectangle")
OPEN = ("point", "points", "line", "linestrip", "lines")


def box_of(shape: Mapping[str, Any], collector: Collector, place: str) -> Box | None:
    """Return the box of a shape; None, with a note, if it has no area.

    Raises:
        DatasetError: the shape is unknown, or has too few or invalid points.
    """
    kind = shape.get("shape_type") or "polygon"
    if kind in OPEN:
        collector.note(f"shapes of type {kind!r} have no area and were left out", place)
        return None
    if kind == "circle":
        center, edge = require_points(shape, "points", place, 2)[:2]
        radius = math.dist(center, edge)
        return ellipse_box(center, (radius, radius))
    if kind not in tuple(CLOSED):  # a list cannot be looked up in a dict
        known = ", ".join((*CLOSED, "circle", *OPEN))
        raise DatasetError(f"{place}: expected a shape_type of {known}; found {kind!r:.80}")
    if kind in TURNED:
        collector.note("rotated boxes were replaced by their enclosing boxes", place)
    return enclosing_box(require_points(shape, "points", place, CLOSED[kind]))
