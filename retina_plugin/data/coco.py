"""Read COCO annotations as records; check and repair them, so that mistakes are reported before
training.

A record is Detectron2's "standard dataset dict" of one image, with XYXY boxes in pixels and
contiguous category ids.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from typing import Any

from retina_plugin.data.annotation_names import AnnotationNames
from retina_plugin.data.box_coordinates import BoxCoordinates, convert_boxes, scale_fractions
from retina_plugin.data.box_warnings import box_warnings
from retina_plugin.data.coco_duplicates import duplicate_warnings
from retina_plugin.data.coco_ids import id_order
from retina_plugin.data.coco_json import read_json
from retina_plugin.data.dataset import Dataset, Record
from retina_plugin.data.entry_errors import is_collecting, reading_entry
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.exif_boxes import (
    check_orientation,
    rotate_boxes,
    rotated_headers,
    set_record_sizes,
)
from retina_plugin.data.file_names import find_images
from retina_plugin.data.finite import is_number
from retina_plugin.data.headers import Header
from retina_plugin.data.importers.imported import Imported
from retina_plugin.data.read_headers import read_headers
from retina_plugin.data.repairs import Repairs, clip_box

logger = logging.getLogger("retina_plugin.data")

# reasons for "iscrowd", and the keys that give them
FLAG_KEYS = (("difficult", "difficult"), ("group_of", "group_of"), ("group_of", "is_group_of"))


def read_coco(
    json_file: str, image_root: str, *, name: str | None = None, box_coordinates: str = ""
) -> Dataset:
    """Read and check COCO annotations.

    Boxes that reach outside their image are clipped; boxes without area or completely outside are
    dropped. A warning counts both.

    Args:
        json_file: a file with "images", "annotations" and "categories"; "annotations" may be
            missing, as in COCO's test-dev.
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
    imported = import_coco(json_file, image_root)
    return build_dataset(imported, name=name, box_coordinates=box_coordinates)


def import_coco(json_file: str, image_root: str) -> Imported:
    """Read COCO annotations; their boxes are not checked yet.

    Raises:
        DatasetError: see :func:`retina_plugin.data.coco_json.read_json`.
    """
    content, lines = read_json(json_file)
    return Imported("COCO", json_file, image_root, content, places=(), notes=tuple(lines))


def build_dataset(
    imported: Imported, *, name: str | None = None, box_coordinates: str = ""
) -> Dataset:
    """Check imported annotations and build a data set from them.

    Args:
        imported: annotations of any format; the content is changed in place.
        name, box_coordinates: see :func:`read_coco`. For other formats than COCO, only the
            orientation is used, because the format defines layout and unit.

    Raises:
        DatasetError: see :func:`read_coco`.
    """
    source, content, names = imported.source, imported.content, AnnotationNames(imported.places)
    with reading_entry():
        _require_classes(imported)
    categories = _categories(content["categories"], source)
    paths, spellings = _find_images(content["images"], source, imported.image_root)
    headers = dict(zip(paths, read_headers([*paths.values()]), strict=True))
    records = _records(content["images"], paths, headers)
    annotations = content.get("annotations", [])
    pairs = _pair_with_records(records, annotations, set(categories), source)
    suspicious = _convert(imported, pairs, records, rotated_headers(headers), box_coordinates)
    repairs = _add_boxes(pairs, list(categories), names)
    with reading_entry():
        if pairs and not any(record["annotations"] for record in records.values()):
            raise DatasetError(
                f"{source}: no box is left of {len(pairs)}: {'; '.join(repairs + suspicious)}"
            )
    lines = [*imported.notes, *spellings, *suspicious, *repairs]
    lines += duplicate_warnings(categories, records.values(), names) + _unused_supercategories(
        content
    )
    warnings = tuple(f"{source}: {line}" for line in lines)
    for line in () if is_collecting() else warnings:
        logger.warning(line)
    return Dataset(
        name=name or source,
        json_file=source,
        image_root=imported.image_root,
        class_names=tuple(categories.values()),
        category_ids=tuple(categories),
        records=list(records.values()),
        warnings=warnings,
        has_ground_truth="annotations" in content,
        without_area=sum(not _has_positive_area(a) for a in annotations) if imported.is_coco else 0,
        format=imported.format,
        places=imported.places,
    )


def _convert(
    imported: Imported,
    pairs: list[tuple[dict[str, Any], Record]],
    records: dict[Any, Record],
    rotated: dict[Any, Header],
    box_coordinates: str,
) -> list[str]:
    """Convert boxes to [x, y, width, height] in pixels of upright images, in place; return
    warnings."""
    coordinates = BoxCoordinates.parse(box_coordinates)
    if not imported.is_coco:
        unit = "fraction" if imported.unit == "fraction" else ""  # pixels may be a mistake
        coordinates = BoxCoordinates("xywh", unit, coordinates.orientation)
    ids_with_size = {
        image["id"]
        for image in imported.content["images"]
        if image.get("width") and image.get("height")
    }
    lines = check_orientation(
        pairs, records, rotated, coordinates, imported.source, ids_with_size=ids_with_size
    )
    set_record_sizes(records, rotated, coordinates.orientation)
    if imported.is_coco:
        convert_boxes(pairs, coordinates, imported.source)
    elif imported.unit == "fraction":
        scale_fractions(pairs)
    if imported.is_coco or imported.unit == "pixels":
        lines += box_warnings(pairs, coordinates, AnnotationNames(imported.places))
    if coordinates.orientation == "stored":
        rotate_boxes(pairs, records, rotated)
    return lines


def _require_classes(imported: Imported) -> None:
    if not imported.content["categories"]:
        what = (
            "no categories: list the classes there, each with id and name"
            if imported.is_coco
            else "no boxes and no list of classes: draw boxes around some objects"
        )
        raise DatasetError(f"{imported.source} has {what}")


def _categories(entries: list[dict[str, Any]], json_file: str) -> dict[Any, str]:
    """Return {id: name}, sorted by id. Inside :func:`collecting_entry_errors`, names that occur
    again get their id."""
    id_of: dict[str, Any] = {}
    for entry in entries:
        with reading_entry():
            if id_of.setdefault(entry["name"], entry["id"]) != entry["id"]:
                raise DatasetError(
                    f"{json_file}: categories {id_of[entry['name']]!r} and {entry['id']!r} are "
                    f"both called {entry['name']!r}; "
                    "metrics and images show names only: rename one, or merge them"
                )
    names = {
        entry["id"]: name
        if id_of[name := entry["name"]] == entry["id"]
        else f"{name} ({entry['id']})"
        for entry in entries
    }
    # in a check, ids can be numbers and text
    return {i: names[i] for i in sorted(names, key=id_order)}


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


def _find_images(
    images: list[dict[str, Any]], source: str, image_root: str
) -> tuple[dict[Any, str], list[str]]:
    """Return {image id: path} and a warning for each unusual spelling of file names."""
    if not images:
        raise DatasetError(f"{source} has no images")
    paths, lines = find_images([image["file_name"] for image in images], image_root, source)
    return {image["id"]: path for image, path in zip(images, paths, strict=True)}, lines


def _records(
    images: list[dict[str, Any]],
    paths: Mapping[Any, str],
    headers: Mapping[Any, Header | DatasetError],
) -> dict[Any, Record]:
    """Return {image id: record without annotations}."""
    return {image["id"]: _record(image, paths, headers) for image in images}


def _record(
    image: dict[str, Any],
    paths: Mapping[Any, str],
    headers: Mapping[Any, Header | DatasetError],
) -> Record:
    width, height = image.get("width"), image.get("height")
    if not (width and height):
        header = headers[image["id"]]
        if isinstance(header, DatasetError):
            raise header
        width, height = header.width, header.height
    return {
        "file_name": paths[image["id"]],
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
        with reading_entry(annotation["id"]):
            record = _record_of(annotation, records, category_ids, json_file)
            pairs.append((annotation, record))
    return pairs


def _record_of(
    annotation: dict[str, Any],
    records: dict[Any, Record],
    category_ids: set[Any],
    json_file: str,
) -> Record:
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
            f"{annotation['category_id']!r}, known are "
            f"{sorted(category_ids, key=id_order)[:20]}. Correct it, or add the category."
        )
    return record


def _add_boxes(
    pairs: list[tuple[dict[str, Any], Record]], category_ids: list[Any], names: AnnotationNames
) -> list[str]:
    """Add the boxes to their records; return what was repaired or dropped, with counts."""
    contiguous = {coco_id: index for index, coco_id in enumerate(category_ids)}
    repairs = Repairs(names)
    for annotation, record in pairs:
        box = clip_box(annotation, record, repairs)
        if box is not None:
            record["annotations"].append(
                object_entry(annotation, box, contiguous[annotation["category_id"]])
            )
    return repairs.lines(len(pairs))


def object_entry(annotation: Mapping[str, Any], box: list[float], label: int) -> dict[str, Any]:
    """Return the entry of one object in "annotations" of a record.

    COCO's metrics group objects by "area": the area of the mask if the file has one, else of the
    box.
    """
    box_area = (box[2] - box[0]) * (box[3] - box[1])
    area = float(annotation["area"]) if _has_positive_area(annotation) else box_area
    # if the box was clipped, its mask is not larger than the clipped box either
    if not math.isclose(box_area, annotation["bbox"][2] * annotation["bbox"][3]):
        area = min(area, box_area)
    flags = {flag: 1 for flag, key in FLAG_KEYS if annotation.get(key)}
    return {
        "id": annotation["id"],
        "bbox": box,
        "category_id": label,
        "iscrowd": int(bool(flags or annotation.get("iscrowd"))),
        "area": area,
        **flags,
    }


def _has_positive_area(annotation: Mapping[str, Any]) -> bool:
    return is_number(annotation.get("area")) and annotation["area"] > 0
