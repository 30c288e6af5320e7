"""COCO annotations (https://cocodataset.org/#format-data), read once and checked, so that mistakes are told before training.

A record is Detectron2's "standard dataset dict" of one image, its boxes XYXY in pixels and its category ids contiguous.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from PIL import Image, ImageOps

logger = logging.getLogger("retina_plugin.data")

HOW_TO_NAME = "Name a data set as annotations.json@image_folder, or put it below the folder that the environment variable DETECTRON2_DATASETS names."


class DatasetError(ValueError):
    """Data that cannot be used; the message names the file, the annotation, what was expected and found, and what to do."""


@dataclass(frozen=True)
class Dataset:
    """Images and their boxes.

    Attributes:
        name: as it was asked for.
        json_file, image_root: where it was read from.
        class_names: position is the contiguous class index.
        category_ids: the ids of the JSON, in the same order: rising.
        records: {"file_name", "image_id", "height", "width", "annotations": [{"id", "bbox" XYXY, "category_id" contiguous, "iscrowd"}]}.
        warnings: what was repaired or dropped, counted.
    """

    name: str
    json_file: str
    image_root: str
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    records: list[dict[str, Any]] = field(repr=False)
    warnings: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """K, without background."""
        return len(self.class_names)


def read_coco(json_file: str, image_root: str, *, name: str | None = None) -> Dataset:
    """Read and check COCO annotations.

    Boxes that reach outside their image are clipped, boxes without area or wholly outside are dropped; both are counted in a warning.

    Args:
        json_file: "images", "annotations" and "categories".
        image_root: folder that ``file_name`` of an image starts from.
        name: for messages; the JSON's path when None.

    Raises:
        DatasetError: anything else that is wrong.
    """
    content = read_json(json_file)
    categories = {c["id"]: c["name"] for c in sorted(content["categories"], key=lambda c: c["id"])}
    if not content["images"] or not categories:
        raise DatasetError(
            f"{json_file} has {len(content['images'])} images and {len(categories)} categories: nothing to use"
        )
    records = _records(content["images"], json_file, image_root)
    problems = _Repairs()
    contiguous = {coco_id: index for index, coco_id in enumerate(categories)}
    seen: set[Any] = set()
    for annotation in content["annotations"]:
        if annotation.get("id") in seen:
            raise DatasetError(
                f"{json_file}: annotation id {annotation['id']} occurs twice; COCO evaluation needs unique ids"
            )
        seen.add(annotation.get("id"))
        record = records.get(annotation.get("image_id"))
        if record is None:
            raise DatasetError(
                f"{json_file}: annotation {annotation.get('id')} belongs to image {annotation.get('image_id')!r}, which is not among the images"
            )
        _add_annotation(record, annotation, contiguous, categories, json_file, problems)
    warnings = tuple(f"{json_file}: {line}" for line in problems.lines(len(content["annotations"])))
    for line in warnings:
        logger.warning(line)
    return Dataset(
        name or json_file,
        json_file,
        image_root,
        tuple(categories.values()),
        tuple(categories),
        list(records.values()),
        warnings,
    )


def read_json(json_file: str) -> dict[str, Any]:
    """The content of an annotation file, its layout checked.

    Raises:
        DatasetError: missing, not JSON, or without COCO's keys.
    """
    try:
        with open(json_file, encoding="utf-8") as file:
            content = json.load(file)
    except FileNotFoundError as error:
        raise DatasetError(f"no annotations at {os.path.abspath(json_file)}. {HOW_TO_NAME}") from error
    except OSError as error:
        raise DatasetError(f"annotations {json_file} cannot be read: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DatasetError(f"{json_file} is not JSON ({error}); it may be cut off: write it again") from error
    needed = ("images", "annotations", "categories")
    found = list(content) if isinstance(content, dict) else type(content).__name__
    if not isinstance(content, dict) or any(not isinstance(content.get(key), list) for key in needed):
        raise DatasetError(
            f"{json_file} is not in COCO's layout: expected the lists {', '.join(needed)}, found {found}"
        )
    for key, wanted in (("images", ("id", "file_name")), ("categories", ("id", "name"))):
        for index, entry in enumerate(content[key]):
            if not isinstance(entry, dict) or any(part not in entry for part in wanted):
                raise DatasetError(
                    f"{json_file}: entry {index} of {key!r} needs {' and '.join(wanted)}, found {entry!r}"
                )
    return content


def _records(images: list[dict[str, Any]], json_file: str, image_root: str) -> dict[Any, dict[str, Any]]:
    """Image id -> record without annotations. Folders are listed once instead of asking for every file."""
    records: dict[Any, dict[str, Any]] = {}
    listed: dict[str, set[str]] = {}
    missing: list[str] = []
    for image in images:
        if image["id"] in records:
            raise DatasetError(
                f"{json_file}: image id {image['id']} occurs twice ({records[image['id']]['file_name']} and {image['file_name']})"
            )
        path = os.path.join(image_root, image["file_name"])
        folder, file_name = os.path.split(path)
        if folder not in listed:
            listed[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        record = {
            "file_name": path,
            "image_id": image["id"],
            "height": image.get("height"),
            "width": image.get("width"),
            "annotations": [],
        }
        records[image["id"]] = record
        if file_name not in listed[folder]:
            missing.append(path)
        elif not (record["height"] and record["width"]):
            record["width"], record["height"] = _size_of(path)
    if missing:
        raise DatasetError(
            f"{len(missing)} of {len(images)} images of {json_file} are missing: {', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}. "
            "Check the image folder, or take them out of the JSON."
        )
    return records


def _size_of(path: str) -> tuple[int, int]:
    """(width, height) after EXIF rotation."""
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).size
    except (OSError, SyntaxError) as error:
        raise DatasetError(f"image {path} cannot be read: {error}") from error


class _Repairs:
    """Counts boxes that were clipped or dropped and remembers the first of each."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def note(self, what: str, annotation: dict[str, Any], record: dict[str, Any]) -> None:
        self.counts[what] += 1
        self.first.setdefault(
            what,
            f"first: annotation {annotation.get('id')} of {os.path.basename(record['file_name'])}, "
            f"bbox {annotation['bbox']} in {record['width']}x{record['height']}",
        )

    def lines(self, total: int) -> list[str]:
        return [f"{count} of {total} boxes {what} ({self.first[what]})" for what, count in self.counts.items()]


def _add_annotation(
    record: dict[str, Any],
    annotation: dict[str, Any],
    contiguous: dict[int, int],
    categories: dict[int, str],
    json_file: str,
    repairs: _Repairs,
) -> None:
    where = f"{json_file}: annotation {annotation.get('id')} of {os.path.basename(record['file_name'])}"
    if annotation.get("category_id") not in contiguous:
        raise DatasetError(
            f"{where} has category_id {annotation.get('category_id')!r}, known are {list(categories)[:20]}. Correct it, or add the category."
        )
    box = annotation.get("bbox")
    numbers = (
        isinstance(box, list) and len(box) == 4 and all(isinstance(v, (int, float)) and math.isfinite(v) for v in box)
    )
    if not numbers:
        raise DatasetError(f"{where} needs a bbox [x, y, width, height] of finite numbers, found {box!r}")
    x, y, width, height = (float(v) for v in box)
    corners = [max(x, 0.0), max(y, 0.0), min(x + width, record["width"]), min(y + height, record["height"])]
    if width <= 0 or height <= 0:
        repairs.note("have no area and were dropped", annotation, record)
    elif corners[2] <= corners[0] or corners[3] <= corners[1]:
        repairs.note("lie outside their image and were dropped", annotation, record)
    else:
        # Rounding of the annotation tool is no mistake of the annotator.
        if max(abs(a - b) for a, b in zip(corners, (x, y, x + width, y + height), strict=True)) > 1:
            repairs.note("reach outside their image and were clipped", annotation, record)
        entry = {"id": annotation.get("id"), "bbox": corners, "category_id": contiguous[annotation["category_id"]]}
        record["annotations"].append({**entry, "iscrowd": int(annotation.get("iscrowd", 0))})


def require_boxes(dataset: Dataset) -> None:
    """Make sure that there is something to learn.

    Raises:
        DatasetError: no image has a box, crowds not counted.
    """
    if not any(not a["iscrowd"] for record in dataset.records for a in record["annotations"]):
        raise DatasetError(
            f"training set {dataset.name}: {len(dataset.records)} images and no box to learn from ({dataset.json_file})"
        )


def coco_ground_truth(json_file: str) -> dict[str, Any]:
    """The JSON as pycocotools needs it: ``iscrowd`` 0 and ``area`` width x height where they are not given, ``info`` if it lacks."""
    content = read_json(json_file)
    content.setdefault("info", {})
    for annotation in content["annotations"]:
        annotation.setdefault("iscrowd", 0)
        annotation.setdefault("area", annotation["bbox"][2] * annotation["bbox"][3])
    return content
