"""Boxes of photographs that their EXIF data turns: find out whether they are measured before or
after turning, and turn them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from retina_plugin.data.box_coordinates import (
    KEY,
    ROUNDING,
    AnnotationPairs,
    BoxCoordinates,
    configured_xyxy,
)
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.headers import Header, read_header

THREADS = min(16, 4 * (os.cpu_count() or 1))  # they wait for disks and networks
MIN_BOXES = 3  # that fit only one of the two sizes, to decide by boxes

Corners = tuple[float, float, float, float]
# Orientation -> a box x0, y0, x1, y1 in the stored picture of width w and height h -> where it is
# after turning.
TURNS: dict[int, Callable[..., Corners]] = {
    2: lambda x0, y0, x1, y1, w, h: (w - x1, y0, w - x0, y1),
    3: lambda x0, y0, x1, y1, w, h: (w - x1, h - y1, w - x0, h - y0),
    4: lambda x0, y0, x1, y1, w, h: (x0, h - y1, x1, h - y0),
    5: lambda x0, y0, x1, y1, w, h: (y0, x0, y1, x1),
    6: lambda x0, y0, x1, y1, w, h: (h - y1, x0, h - y0, x1),
    7: lambda x0, y0, x1, y1, w, h: (h - y1, w - x1, h - y0, w - x0),
    8: lambda x0, y0, x1, y1, w, h: (y0, w - x1, y1, w - x0),
}


def rotated_headers(records: Iterable[Mapping[str, Any]]) -> dict[Any, Header]:
    """Image id -> header of each file that EXIF turns; files that cannot be read are left to
    whoever draws them."""

    def header_of(record: Mapping[str, Any]) -> tuple[Any, Header | None]:
        try:
            return record["image_id"], read_header(record["file_name"])
        except DatasetError:
            return record["image_id"], None

    pool = ThreadPoolExecutor(THREADS)
    try:
        found = list(pool.map(header_of, records))
    finally:
        pool.shutdown(cancel_futures=True)
    return {
        image_id: header
        for image_id, header in found
        if header is not None and header.orientation in TURNS
    }


def measure_sizes(
    records: Mapping[Any, dict[str, Any]], turned: Mapping[Any, Header], orientation: str
) -> None:
    """Set width and height of turned records, in place, to those that boxes are measured in as the
    user states."""
    for image_id, header in turned.items():
        if orientation:
            size = header.stored_size if orientation == "stored" else (header.width, header.height)
            records[image_id]["width"], records[image_id]["height"] = size


def turn_boxes(
    pairs: AnnotationPairs, records: Mapping[Any, dict[str, Any]], turned: Mapping[Any, Header]
) -> None:
    """Turn boxes [x, y, width, height] that are measured in stored pictures, and sizes of their
    records, in place."""
    for annotation, record in pairs:
        header = turned.get(record["image_id"])
        if header is not None:
            x, y, w, h = annotation["bbox"]
            x0, y0, x1, y1 = TURNS[header.orientation](x, y, x + w, y + h, *header.stored_size)
            annotation["bbox"] = [x0, y0, x1 - x0, y1 - y0]
    for image_id, header in turned.items():
        records[image_id]["width"], records[image_id]["height"] = header.width, header.height


class Evidence(NamedTuple):
    """How a file seems to measure boxes of turned photographs whose stored and upright sizes
    differ.

    Attributes:
        stored_sizes, upright_sizes: photographs whose width and height in the JSON are those before
            or after turning.
        stored_boxes, upright_boxes: boxes that fit only into the picture before or after turning.
    """

    stored_sizes: int
    upright_sizes: int
    stored_boxes: int
    upright_boxes: int

    @property
    def boxes(self) -> str:
        """What boxes alone show: "stored", "upright" or nothing."""
        counts = {"stored": self.stored_boxes, "upright": self.upright_boxes}
        most = max(counts, key=counts.get)
        return (
            most if counts[most] >= MIN_BOXES and 10 * min(counts.values()) <= counts[most] else ""
        )


def check_orientation(
    pairs: AnnotationPairs,
    records: Mapping[Any, Mapping[str, Any]],
    turned: Mapping[Any, Header],
    configured: BoxCoordinates,
    json_file: str,
    *,
    sized: set[Any],
) -> list[str]:
    """Make sure that boxes of turned photographs are measured after turning, as pictures are shown
    and trained on.

    Where turning changes the size, boxes are taken for stored ones if width and height in the JSON
    are the stored ones, or if at least 3 boxes fit into the stored picture only, and at most a
    tenth as many into the upright one only. Pictures that are square, mirrored or turned by 180
    degrees show nothing: they go by the others of the same file.

    Args:
        pairs: each annotation, as the file has it, with its record.
        records: by image id.
        turned: see :func:`rotated_headers`.
        configured: what the user says; nothing is checked if it has an orientation.
        json_file: for messages.
        sized: ids of the images whose size the JSON has.

    Returns:
        A line with a count if there are boxes of which nothing can be said.

    Raises:
        DatasetError: boxes or sizes are those of stored pictures.
    """
    if configured.orientation or not turned:
        return []
    evidence = _evidence(pairs, records, turned, configured, sized)
    if evidence.stored_sizes or evidence.boxes == "stored":
        raise DatasetError(
            f"{json_file}: {_cause(evidence, records, turned)} {_remedy(evidence, configured)}"
        )
    if evidence.upright_sizes or evidence.boxes == "upright":
        return []
    unclear = [record for _, record in pairs if record["image_id"] in turned]
    if not unclear:
        return []
    number = len({record["image_id"] for record in unclear})
    name, orientation = (
        os.path.basename(unclear[0]["file_name"]),
        turned[unclear[0]["image_id"]].orientation,
    )
    return [
        f"{number} photographs with boxes are turned by their EXIF data (first: {name}, "
        f"orientation {orientation}), and neither "
        "sizes nor boxes show whether boxes are measured before or after turning. After turning "
        "is assumed. Look at them with "
        f"tools/visualize_data.py and set {KEY} to 'upright' or 'stored'"
    ]


def _evidence(
    pairs: AnnotationPairs,
    records: Mapping[Any, Mapping[str, Any]],
    turned: Mapping[Any, Header],
    configured: BoxCoordinates,
    sized: set[Any],
) -> Evidence:
    visible = {
        i: header
        for i, header in turned.items()
        if header.stored_size != (header.width, header.height)
    }
    sizes = [(records[i]["width"], records[i]["height"]) for i in visible]
    given = [i in sized for i in visible]
    stored_sizes = sum(
        g and s == h.stored_size for g, s, h in zip(given, sizes, visible.values(), strict=True)
    )
    upright_sizes = sum(
        g and s == (h.width, h.height)
        for g, s, h in zip(given, sizes, visible.values(), strict=True)
    )
    shown = [(annotation, record) for annotation, record in pairs if record["image_id"] in visible]
    if not shown:
        return Evidence(stored_sizes, upright_sizes, 0, 0)
    corners = configured_xyxy(shown, configured)
    headers = [visible[record["image_id"]] for _, record in shown]
    in_stored = _fits(corners, [h.stored_size for h in headers])
    in_upright = _fits(corners, [(h.width, h.height) for h in headers])
    boxes = int((in_stored & ~in_upright).sum()), int((in_upright & ~in_stored).sum())
    return Evidence(stored_sizes, upright_sizes, *boxes)


def _fits(corners: np.ndarray, sizes: list[tuple[int, int]]) -> np.ndarray:
    """(M,) bool: boxes (M, 4) XYXY that lie within pictures of (width, height)."""
    return ((corners[:, :2] >= -ROUNDING) & (corners[:, 2:] <= np.array(sizes) + ROUNDING)).all(
        axis=1
    )


def _cause(
    evidence: Evidence, records: Mapping[Any, Mapping[str, Any]], turned: Mapping[Any, Header]
) -> str:
    first = next(
        (
            i
            for i, h in turned.items()
            if (records[i]["width"], records[i]["height"]) == h.stored_size != (h.width, h.height)
        ),
        next(iter(turned)),
    )
    header, causes = turned[first], []
    if evidence.stored_sizes:
        causes.append(
            f"width and height of {evidence.stored_sizes} photographs that their EXIF data turns "
            "are those before turning"
            + (f", of {evidence.upright_sizes} those after it" if evidence.upright_sizes else "")
        )
    if evidence.boxes:
        only = evidence.stored_boxes if evidence.boxes == "stored" else evidence.upright_boxes
        causes.append(
            f"{only} boxes fit only into the picture "
            f"{'before' if evidence.boxes == 'stored' else 'after'} turning"
        )
    stored = "x".join(map(str, header.stored_size))
    name = os.path.basename(header.path)
    return (
        f"{', and '.join(causes)} (first: {name} is stored as {stored} and seen as "
        f"{header.width}x{header.height})."
    )


def _remedy(evidence: Evidence, configured: BoxCoordinates) -> str:
    if evidence.stored_sizes and evidence.upright_sizes:
        return "Correct the JSON, so that all of them count after turning."
    words = {
        w: str(BoxCoordinates(configured.layout, configured.unit, w)) for w in ("stored", "upright")
    }
    if evidence.boxes:
        return f"Set {KEY} to {words[evidence.boxes]!r}."
    return (
        f"Set {KEY} to {words['stored']!r} if boxes are measured in that picture too: they are "
        "turned then; "
        f"or to {words['upright']!r} if they belong to the picture as it is seen."
    )
