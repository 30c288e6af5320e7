"""Read COCO annotations as records; check and repair them, so that mistakes are reported before
training.

A record is Detectron2's "standard dataset dict" of one image, with XYXY boxes in pixels and
contiguous category ids.
"""

from __future__ import annotations

import logging
import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from retina_plugin.data.box_coordinates import BoxCoordinates, convert_boxes
from retina_plugin.data.box_warnings import box_warnings
from retina_plugin.data.coco_duplicates import duplicate_warnings
from retina_plugin.data.coco_json import read_json
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.exif_boxes import (
    check_orientation,
    rotate_boxes,
    rotated_headers,
    set_record_sizes,
)
from retina_plugin.data.file_names import find_images
from retina_plugin.data.finite import is_number
from retina_plugin.data.images import image_size

logger = logging.getLogger("retina_plugin.data")

Record = dict[str, Any]
# pixels that a box may reach outside without a warning: annotation tools round
TOLERANCE = 1.0


@dataclass(frozen=True)
class Dataset:
    """Images and their boxes.

    Attributes:
        name: the name it was loaded by.
        json_file, image_root: annotation file and image folder.
        class_names: K names; the position is the contiguous class index.
        category_ids: K ids of the JSON file in the same order, which is ascending.
        records: {"file_name", "image_id", "height", "width", "annotations": [{"id", "bbox" XYXY,
            "category_id" contiguous, "iscrowd", "area" in pixels}]}.
        warnings: what was repaired or dropped, with counts.
        has_ground_truth: False for files such as COCO's test-dev, which have no "annotations"; they
            can be used for detection but not for evaluation.
        without_area: number of annotations whose "area" is missing or 0 in the JSON file; the area
            of their box is used instead.
    """

    name: str
    json_file: str
    image_root: str
    class_names: tuple[str, ...]
    category_ids: tuple[Any, ...]
    records: list[Record] = field(repr=False)
    warnings: tuple[str, ...] = ()
    has_ground_truth: bool = True
    without_area: int = 0

    @property
    def num_classes(self) -> int:
        """K, the number of classes without background."""
        return len(self.class_names)


def read_coco(
    json_file: str, image_root: str, *, name: str | None = None, box_coordinates: str = ""
) -> Dataset:
    """Read and check COCO annotations.

    Boxes that reach outside their image are clipped; boxes without area or completely outside are
    dropped. A warning counts both.

    Args:
        json_file: with "images", "annotations" and "categories"; "annotations" may be missing, as
            in COCO's test-dev.
        image_root: folder that the ``file_name`` of each image is relative to.
        name: for messages; None for the path of the JSON file.
        box_coordinates: such as "xyxy fraction", if boxes are not COCO's; see
            :class:`retina_plugin.data.box_coordinates.BoxCoordinates`.

    Raises:
        DatasetError: the file cannot be used, no box is left, or boxes seem to have other
            coordinates than the configured ones; see
            :func:`retina_plugin.data.coco_json.read_json`,
            :func:`retina_plugin.data.box_coordinates.convert_boxes` and
            :func:`retina_plugin.data.exif_boxes.check_orientation`.
    """
    coordinates = BoxCoordinates.parse(box_coordinates)
    content, lines = read_json(json_file)
    categories = _categories(content["categories"], json_file)
    records, spellings = _records(content["images"], json_file, image_root)
    annotations = content.get("annotations", [])
    pairs = _pair_with_records(records, annotations, set(categories), json_file)
    rotated = rotated_headers(records.values())
    ids_with_size = {
        image["id"] for image in content["images"] if image.get("width") and image.get("height")
    }
    lines += check_orientation(
        pairs, records, rotated, coordinates, json_file, ids_with_size=ids_with_size
    )
    set_record_sizes(records, rotated, coordinates.orientation)
    convert_boxes(pairs, coordinates, json_file)
    suspicious = box_warnings(pairs, coordinates)
    if coordinates.orientation == "stored":
        rotate_boxes(pairs, records, rotated)
    repairs = _add_boxes(pairs, list(categories))
    if pairs and not any(record["annotations"] for record in records.values()):
        raise DatasetError(
            f"{json_file}: no box is left of {len(pairs)}: {'; '.join(repairs + suspicious)}"
        )
    lines += spellings + repairs + suspicious + duplicate_warnings(categories, records.values())
    lines += _unused_supercategories(content)
    warnings = tuple(f"{json_file}: {line}" for line in lines)
    for line in warnings:
        logger.warning(line)
    return Dataset(
        name=name or json_file,
        json_file=json_file,
        image_root=image_root,
        class_names=tuple(categories.values()),
        category_ids=tuple(categories),
        records=list(records.values()),
        warnings=warnings,
        has_ground_truth="annotations" in content,
        without_area=sum(not _has_positive_area(a) for a in content.get("annotations", [])),
    )


def _categories(entries: list[dict[str, Any]], json_file: str) -> dict[Any, str]:
    """Return {id: name}, sorted by id."""
    if not entries:
        raise DatasetError(
            f"{json_file} has no categories: list the classes there, each with id and name"
        )
    id_of: dict[str, Any] = {}
    for entry in entries:
        if id_of.setdefault(entry["name"], entry["id"]) != entry["id"]:
            raise DatasetError(
                f"{json_file}: categories {id_of[entry['name']]!r} and {entry['id']!r} are both "
                f"called {entry['name']!r}; "
                "metrics and images show names only: rename one, or merge them"
            )
    return {coco_id: name for name, coco_id in sorted(id_of.items(), key=lambda item: item[1])}


def _unused_supercategories(content: dict[str, Any]) -> list[str]:
    """Return a warning for each category without annotations that is the supercategory of others.

    Roboflow exports one with id 0. It stays a class, because training and test set must have the
    same classes and only one of them may use it.
    """
    used = {annotation["category_id"] for annotation in content.get("annotations", [])}
    parents = [entry.get("supercategory") for entry in content["categories"] if entry["id"] in used]
    return [
        f"category {entry['id']!r} ({entry['name']!r}) is only the supercategory of others, as in "
        "Roboflow's exports; no annotation uses it. It stays a class that is never found: remove "
        "it from the categories of all files if you do not need it"
        for entry in content["categories"]
        if used and entry["id"] not in used and entry["name"] in parents
    ]


def _records(
    images: list[dict[str, Any]], json_file: str, image_root: str
) -> tuple[dict[Any, Record], list[str]]:
    """Return {image id: record without annotations} and a warning for each unusual spelling of file
    names."""
    if not images:
        raise DatasetError(f"{json_file} has no images")
    paths, lines = find_images([image["file_name"] for image in images], image_root, json_file)
    return {
        image["id"]: _record(image, path) for image, path in zip(images, paths, strict=True)
    }, lines


def _record(image: dict[str, Any], path: str) -> Record:
    width, height = image.get("width"), image.get("height")
    if not (width and height):
        width, height = image_size(path)
    return {
        "file_name": path,
        "image_id": image["id"],
        "height": int(height),
        "width": int(width),
        "annotations": [],
    }


def _pair_with_records(
    records: dict[Any, Record],
    annotations: list[dict[str, Any]],
    category_ids: set[Any],
    json_file: str,
) -> list[tuple[dict[str, Any], Record]]:
    """Return each annotation with the record of its image."""
    pairs = []
    for annotation in annotations:
        record = records.get(annotation["image_id"])
        if record is None:
            raise DatasetError(
                f"{json_file}: annotation {annotation['id']!r} belongs to image "
                f"{annotation['image_id']!r}, which is not among the images. "
                "Remove it, or add the image."
            )
        if annotation["category_id"] not in category_ids:
            raise DatasetError(
                f"{json_file}: annotation {annotation['id']!r} of "
                f"{os.path.basename(record['file_name'])} has category_id "
                f"{annotation['category_id']!r}, known are {sorted(category_ids)[:20]}. Correct "
                "it, or add the category."
            )
        pairs.append((annotation, record))
    return pairs


def _add_boxes(pairs: list[tuple[dict[str, Any], Record]], category_ids: list[Any]) -> list[str]:
    """Add the boxes to their records; return what was repaired or dropped, with counts."""
    contiguous = {coco_id: index for index, coco_id in enumerate(category_ids)}
    repairs = Repairs()
    for annotation, record in pairs:
        box = clip_box(annotation, record, repairs)
        if box is not None:
            record["annotations"].append(
                _object(annotation, box, contiguous[annotation["category_id"]])
            )
    return repairs.lines(len(pairs))


def _object(annotation: Mapping[str, Any], box: list[float], label: int) -> dict[str, Any]:
    """Return the entry of one object in "annotations" of a record.

    COCO's metrics group objects by "area": the area of the mask if the file has one, else of the
    box.
    """
    box_area = (box[2] - box[0]) * (box[3] - box[1])
    area = float(annotation["area"]) if _has_positive_area(annotation) else box_area
    # if the box was clipped, its mask is not larger than the clipped box either
    if not math.isclose(box_area, annotation["bbox"][2] * annotation["bbox"][3]):
        area = min(area, box_area)
    return {
        "id": annotation["id"],
        "bbox": box,
        "category_id": label,
        "iscrowd": int(annotation.get("iscrowd") or 0),
        "area": area,
    }


def _has_positive_area(annotation: Mapping[str, Any]) -> bool:
    return is_number(annotation.get("area")) and annotation["area"] > 0


class Repairs:
    """Counts the boxes that were clipped or dropped, by reason, and keeps the first as an
    example."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def note(self, what: str, annotation: Mapping[str, Any], record: Record) -> None:
        self.counts[what] += 1
        self.first.setdefault(
            what,
            f"first: annotation {annotation['id']} of {os.path.basename(record['file_name'])}, "
            f"bbox {annotation['bbox']} in {record['width']}x{record['height']}",
        )

    def lines(self, total: int) -> list[str]:
        return [
            f"{count} of {total} boxes {what} ({self.first[what]})"
            for what, count in self.counts.items()
        ]


def clip_box(annotation: Mapping[str, Any], record: Record, repairs: Repairs) -> list[float] | None:
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
