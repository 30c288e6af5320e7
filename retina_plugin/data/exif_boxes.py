"""Handle boxes of images that have an EXIF orientation.

Images are rotated upright when they are read. The boxes of an annotation file may be measured
before or after that rotation; this module finds out which, and rotates boxes. Here "rotated" also
means mirrored.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from retina_plugin.data.box_coordinates import (
    KEY,
    ROUNDING,
    AnnotationPairs,
    BoxCoordinates,
    BoxCoordinatesError,
    configured_xyxy,
)
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.headers import Header

MIN_BOXES = 3  # smallest number of boxes that fit only one of the two sizes, as evidence

Corners = tuple[float, float, float, float]
# EXIF orientation -> function of a box and of the stored image's width w and height h, which
# returns the box in the upright image
BOX_ROTATIONS: dict[int, Callable[..., Corners]] = {
    2: lambda x0, y0, x1, y1, w, h: (w - x1, y0, w - x0, y1),
    3: lambda x0, y0, x1, y1, w, h: (w - x1, h - y1, w - x0, h - y0),
    4: lambda x0, y0, x1, y1, w, h: (x0, h - y1, x1, h - y0),
    5: lambda x0, y0, x1, y1, w, h: (y0, x0, y1, x1),
    6: lambda x0, y0, x1, y1, w, h: (h - y1, x0, h - y0, x1),
    7: lambda x0, y0, x1, y1, w, h: (h - y1, w - x1, h - y0, w - x0),
    8: lambda x0, y0, x1, y1, w, h: (y0, w - x1, y1, w - x0),
}


def rotated_headers(headers: Mapping[Any, Header | DatasetError]) -> dict[Any, Header]:
    """Return {image id: header} of the images that EXIF rotates.

    Files that cannot be read are skipped; reading their pixels raises the error later.
    """
    return {
        image_id: header
        for image_id, header in headers.items()
        if isinstance(header, Header) and header.orientation in BOX_ROTATIONS
    }


def set_record_sizes(
    records: Mapping[Any, dict[str, Any]], rotated: Mapping[Any, Header], orientation: str
) -> None:
    """Set width and height of rotated images to the size that their boxes are measured in.

    Records are changed in place, and only if ``orientation`` ("stored" or "upright") is not empty.
    """
    for image_id, header in rotated.items():
        if orientation:
            size = header.stored_size if orientation == "stored" else (header.width, header.height)
            records[image_id]["width"], records[image_id]["height"] = size


def rotate_boxes(
    pairs: AnnotationPairs, records: Mapping[Any, dict[str, Any]], rotated: Mapping[Any, Header]
) -> None:
    """Rotate boxes [x, y, width, height] that are measured in stored images, and set the sizes of
    their records to the upright ones, in place."""
    for annotation, record in pairs:
        header = rotated.get(record["image_id"])
        if header is not None:
            x, y, w, h = annotation["bbox"]
            x0, y0, x1, y1 = BOX_ROTATIONS[header.orientation](
                x, y, x + w, y + h, *header.stored_size
            )
            annotation["bbox"] = [x0, y0, x1 - x0, y1 - y0]
    for image_id, header in rotated.items():
        records[image_id]["width"], records[image_id]["height"] = header.width, header.height


class BoxOrientationError(BoxCoordinatesError):
    """Boxes or sizes are those before EXIF rotation."""


class OrientationEvidence(NamedTuple):
    """Counts over rotated images whose stored and upright sizes differ.

    Attributes:
        stored_sizes, upright_sizes: images whose width and height in the JSON file are those before
            or after rotation.
        stored_boxes, upright_boxes: boxes that fit only into the image before or after rotation.
    """

    stored_sizes: int
    upright_sizes: int
    stored_boxes: int
    upright_boxes: int

    @property
    def boxes(self) -> str:
        """The orientation that the boxes alone show: "stored", "upright" or ""."""
        counts = {"stored": self.stored_boxes, "upright": self.upright_boxes}
        most = max(counts, key=lambda orientation: counts[orientation])
        return (
            most if counts[most] >= MIN_BOXES and 10 * min(counts.values()) <= counts[most] else ""
        )


def check_orientation(
    pairs: AnnotationPairs,
    records: Mapping[Any, Mapping[str, Any]],
    rotated: Mapping[Any, Header],
    configured: BoxCoordinates,
    json_file: str,
    *,
    ids_with_size: set[Any],
) -> list[str]:
    """Check that boxes of rotated images are measured after rotation.

    Only images whose size changes by the rotation give evidence. Boxes are measured before rotation
    if width and height in the JSON file are those before rotation, or if at least 3 boxes fit only
    into the stored image and at most a tenth as many fit only into the upright one.

    Args:
        pairs: (annotation, record) pairs with unconverted boxes.
        records: {image id: record}.
        rotated: see :func:`rotated_headers`.
        configured: the coordinates from the config; if it sets an orientation, nothing is checked.
        json_file: the annotation file, for messages.
        ids_with_size: ids of the images whose size is in the JSON file.

    Returns:
        A warning with a count if rotated images have boxes and there is no evidence.

    Raises:
        BoxOrientationError: boxes or sizes are those before rotation.
    """
    if configured.orientation or not rotated:
        return []
    evidence = _count_evidence(pairs, records, rotated, configured, ids_with_size)
    if evidence.stored_sizes or evidence.boxes == "stored":
        raise BoxOrientationError(
            f"{json_file}: {_describe_evidence(evidence, records, rotated)} "
            f"{_remedy(evidence, configured)}",
            _needed(evidence, configured),
        )
    if evidence.upright_sizes or evidence.boxes == "upright":
        return []
    undecided = [record for _, record in pairs if record["image_id"] in rotated]
    if not undecided:
        return []
    number = len({record["image_id"] for record in undecided})
    name, orientation = (
        os.path.basename(undecided[0]["file_name"]),
        rotated[undecided[0]["image_id"]].orientation,
    )
    return [
        f"{number} images with boxes are rotated by their EXIF orientation (first: {name}, "
        f"orientation {orientation}), and neither sizes nor boxes show whether boxes are measured "
        "before or after rotation. After rotation is assumed. Look at them with "
        f"tools/visualize_data.py and set {KEY} to 'upright' or 'stored'"
    ]


def _count_evidence(
    pairs: AnnotationPairs,
    records: Mapping[Any, Mapping[str, Any]],
    rotated: Mapping[Any, Header],
    configured: BoxCoordinates,
    ids_with_size: set[Any],
) -> OrientationEvidence:
    distinct = {
        i: header
        for i, header in rotated.items()
        if header.stored_size != (header.width, header.height)
    }
    sizes = [(records[i]["width"], records[i]["height"]) for i in distinct]
    given = [i in ids_with_size for i in distinct]
    stored_sizes = sum(
        g and s == h.stored_size for g, s, h in zip(given, sizes, distinct.values(), strict=True)
    )
    upright_sizes = sum(
        g and s == (h.width, h.height)
        for g, s, h in zip(given, sizes, distinct.values(), strict=True)
    )
    visible_pairs = [
        (annotation, record) for annotation, record in pairs if record["image_id"] in distinct
    ]
    if not visible_pairs or configured.unit == "fraction":  # fractions fit into every image
        return OrientationEvidence(stored_sizes, upright_sizes, 0, 0)
    corners = configured_xyxy(visible_pairs, configured)
    headers = [distinct[record["image_id"]] for _, record in visible_pairs]
    in_stored = _fits(corners, [h.stored_size for h in headers])
    in_upright = _fits(corners, [(h.width, h.height) for h in headers])
    boxes = int((in_stored & ~in_upright).sum()), int((in_upright & ~in_stored).sum())
    return OrientationEvidence(stored_sizes, upright_sizes, *boxes)


def _fits(corners: np.ndarray, sizes: list[tuple[int, int]]) -> np.ndarray:
    """Return (M,) bool: boxes (M, 4) XYXY that lie inside images of sizes (width, height)."""
    inside = (corners[:, :2] >= -ROUNDING) & (corners[:, 2:] <= np.array(sizes) + ROUNDING)
    result: np.ndarray = np.all(inside, axis=1)
    return result


def _describe_evidence(
    evidence: OrientationEvidence,
    records: Mapping[Any, Mapping[str, Any]],
    rotated: Mapping[Any, Header],
) -> str:
    first = next(
        (
            i
            for i, h in rotated.items()
            if (records[i]["width"], records[i]["height"]) == h.stored_size != (h.width, h.height)
        ),
        next(iter(rotated)),
    )
    header, causes = rotated[first], []
    if evidence.stored_sizes:
        causes.append(
            f"width and height of {evidence.stored_sizes} images that EXIF rotates are those "
            "before rotation"
            + (f", of {evidence.upright_sizes} those after it" if evidence.upright_sizes else "")
        )
    if evidence.boxes:
        only = evidence.stored_boxes if evidence.boxes == "stored" else evidence.upright_boxes
        causes.append(
            f"{only} boxes fit only into the image "
            f"{'before' if evidence.boxes == 'stored' else 'after'} rotation"
        )
    stored = "x".join(map(str, header.stored_size))
    name = os.path.basename(header.path)
    return (
        f"{', and '.join(causes)} (first: {name} is stored as {stored} and shown as "
        f"{header.width}x{header.height})."
    )


def _needed(evidence: OrientationEvidence, configured: BoxCoordinates) -> BoxCoordinates | None:
    """Return the coordinates that convert the boxes; None if sizes before and after rotation are
    mixed. Without evidence from boxes, they are like the sizes: before rotation."""
    if evidence.stored_sizes and evidence.upright_sizes:
        return None
    return dataclasses.replace(configured, orientation=evidence.boxes or "stored")


def _remedy(evidence: OrientationEvidence, configured: BoxCoordinates) -> str:
    needed = _needed(evidence, configured)
    if needed is None:
        return "Correct the JSON file: write all of them as after rotation."
    if evidence.boxes:
        return f"Set {KEY} to {str(needed)!r}."
    upright = dataclasses.replace(configured, orientation="upright")
    return (
        f"Set {KEY} to {str(needed)!r} if boxes are measured before rotation, too; they are "
        f"rotated then. Set it to {str(upright)!r} if they are measured after rotation."
    )
