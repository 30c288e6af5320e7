"""Clip boxes to their image, and count what was clipped or dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from retina_plugin.data.annotation_names import AnnotationNames

# pixels that a box may reach outside without a warning: annotation tools round
TOLERANCE = 1.0


class Repairs:
    """Counts the boxes that were clipped or dropped, by reason, and keeps the first as an
    example."""

    def __init__(self, names: AnnotationNames | None = None) -> None:
        self.names = names or AnnotationNames()
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def note(self, what: str, annotation: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        self.counts[what] += 1
        self.first.setdefault(
            what,
            f"first: {self.names.of(annotation, record)}, "
            f"bbox {annotation['bbox']} in {record['width']}x{record['height']}",
        )

    def lines(self, total: int) -> list[str]:
        return [
            f"{count} of {total} boxes {what} ({self.first[what]})"
            for what, count in self.counts.items()
        ]


def clip_box(
    annotation: Mapping[str, Any], record: Mapping[str, Any], repairs: Repairs
) -> list[float] | None:
    """Clip a box to its image and count the repair; return XYXY, or None if no area is left."""
    x, y, width, height = (float(value) for value in annotation["bbox"])
    corners = [x, y, x + width, y + height]
    inside = [
        max(x, 0.0),
        max(y, 0.0),
        min(corners[2], record["width"]),
        min(corners[3], record["height"]),
    ]
    if not (width > 0 and height > 0):  # also False for NaN, from numbers that overflow
        repairs.note("have no area and were dropped", annotation, record)
        return None
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        repairs.note("lie outside their image and were dropped", annotation, record)
        return None
    if max(abs(a - b) for a, b in zip(corners, inside, strict=True)) > TOLERANCE:
        repairs.note("reach outside their image and were clipped", annotation, record)
    return inside
