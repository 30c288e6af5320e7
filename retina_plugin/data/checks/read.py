"""Read a data set and convert all errors to findings, instead of stopping at the first error."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from retina_plugin.data.annotation_names import AnnotationNames
from retina_plugin.data.box_coordinates import (
    AnnotationPairs,
    BoxCoordinates,
    BoxCoordinatesError,
)
from retina_plugin.data.box_warnings import box_warnings
from retina_plugin.data.catalog import configured_box_coordinates, import_annotations
from retina_plugin.data.checks.checked_set import CheckedSet
from retina_plugin.data.checks.finding import Finding
from retina_plugin.data.checks.sizes import (
    AddFinding,
    Headers,
    correct_sizes,
    correct_sizes_of_fractions,
)
from retina_plugin.data.coco import build_dataset
from retina_plugin.data.data_path import parse_data_path
from retina_plugin.data.dataset import Dataset, Record
from retina_plugin.data.entry_errors import collecting_entry_errors
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.exif_boxes import (
    BoxOrientationError,
    check_orientation,
    rotated_headers,
)
from retina_plugin.data.file_names import locate_images
from retina_plugin.data.headers import MAX_PIXELS, Header
from retina_plugin.data.images import require_channels_and_size
from retina_plugin.data.importers.imported import Imported
from retina_plugin.data.pixel_kinds import kind_of
from retina_plugin.data.read_headers import read_headers


def read_checked(name: str) -> CheckedSet:
    """Read a data set; leave out entries and images that cannot be used, and add findings for them.

    If the annotations cannot be read at all, the data set has no records, no classes and no format.

    Args:
        name: as for :func:`retina_plugin.data.load_dataset`.
    """
    findings: list[Finding] = []
    checked = CheckedSet(Dataset(name, name, "", (), (), [], format="cannot be read"))
    where = parse_data_path(name)
    source = name if where is None else where.path

    def add(rule: str, file: str, message: str) -> None:
        findings.append(Finding(rule, file, None, message, name))

    with collecting_entry_errors() as errors:
        try:
            imported = import_annotations(name)
            source = imported.source
            headers = _leave_out_images(imported, add)
            checked = _build(imported, headers, name, add)
        except DatasetError as error:
            add("invalid-annotation", source, str(error))
    places = checked.dataset.places
    # building the data set a second time repeats its errors
    unique = {(repr(e.annotation), e.message): e for e in errors}
    checked.findings = findings + [
        Finding("invalid-annotation", source, _place(e.annotation, places), e.message, name)
        for e in unique.values()
    ]
    return checked


def _place(annotation: Any, places: Sequence[str]) -> Any:
    return places[annotation - 1] if places and isinstance(annotation, int) else annotation


def _leave_out_images(imported: Imported, add: AddFinding) -> Headers:
    """Remove images without a usable file, and their annotations, in place. Return the headers of
    the remaining images."""
    content = imported.content
    paths = _find_files(imported, add)
    headers: Headers = {}
    for image_id, header in zip(paths, read_headers([*paths.values()]), strict=True):
        if isinstance(header, Header):
            header = _usable(header)
        if isinstance(header, Header):
            headers[image_id] = header
        else:
            add("unreadable-image", paths[image_id], str(header))
    dropped = {image["id"] for image in content["images"]} - headers.keys()
    content["images"] = [image for image in content["images"] if image["id"] in headers]
    if dropped and "annotations" in content:
        kept = [a for a in content["annotations"] if a["image_id"] not in dropped]
        content["annotations"] = kept
    return headers


def _find_files(imported: Imported, add: AddFinding) -> dict[Any, str]:
    """Return {image id: path} of the images whose file exists."""
    images, root = imported.content["images"], imported.image_root
    located = locate_images([image["file_name"] for image in images], root)
    for line in (*imported.notes, *located.lines):
        add("converted", imported.source, line)
    paths: dict[Any, str] = {}
    for image, path in zip(images, located.paths, strict=True):
        if path is not None:
            paths[image["id"]] = path
            continue
        cause = located.explain_missing(image["file_name"])
        expected = os.path.join(root, image["file_name"])
        add("missing-image", expected, f"there is no such file. {cause}".strip())
    return paths


def _usable(header: Header) -> Header | DatasetError:
    try:
        require_channels_and_size(
            header.path, header.pixels, header.width, header.height, MAX_PIXELS
        )
    except DatasetError as error:
        return error
    return header


def _build(imported: Imported, headers: Headers, name: str, add: AddFinding) -> CheckedSet:
    """Build the data set, with detected box coordinates, and check sizes and rotation."""
    if imported.unit == "fraction":
        correct_sizes_of_fractions(imported.content["images"], headers, add)
    dataset, coordinates = _convert(imported, name, add)
    records = {record["image_id"]: record for record in dataset.records}
    known = set(dataset.category_ids)
    pairs = [
        (annotation, records[annotation["image_id"]])
        for annotation in imported.content.get("annotations", [])
        if annotation["image_id"] in records and annotation["category_id"] in known
    ]
    if imported.is_coco or imported.unit == "pixels":
        layout = coordinates.layout if imported.is_coco else "xywh"
        used = dataclasses.replace(coordinates, layout=layout)
        for line in box_warnings(pairs, used, AnnotationNames(imported.places)):
            add("suspicious-coordinates", imported.source, line)
    if not coordinates.orientation:
        _find_unclear_rotation(imported, pairs, records, headers, add)
    unclear = correct_sizes(dataset, pairs, headers, add)
    pixels = {header.path: kind_of(header) for header in headers.values()}
    return CheckedSet(dataset, pairs, unclear, pixels=pixels)


def _convert(imported: Imported, name: str, add: AddFinding) -> tuple[Dataset, BoxCoordinates]:
    """Build the data set. If its boxes have other coordinates than configured, add a finding and
    use the detected coordinates; if these are unknown, leave out the boxes."""
    coordinates = BoxCoordinates.parse(configured_box_coordinates())
    while True:
        try:
            dataset = build_dataset(imported, name=name, box_coordinates=str(coordinates))
        except BoxCoordinatesError as error:
            rotated = isinstance(error, BoxOrientationError)
            add("exif-rotation" if rotated else "wrong-coordinates", imported.source, str(error))
            if error.needed is None or error.needed == coordinates:
                imported.content["annotations"] = []  # the other rules are still checked
            else:
                coordinates = error.needed
        else:
            return dataset, coordinates


def _find_unclear_rotation(
    imported: Imported,
    pairs: AnnotationPairs,
    records: dict[Any, Record],
    headers: Headers,
    add: AddFinding,
) -> None:
    """Check the rule unclear-rotation."""
    with_size = {i["id"] for i in imported.content["images"] if i.get("width") and i.get("height")}
    rotated = rotated_headers(headers)
    unclear = check_orientation(
        pairs, records, rotated, BoxCoordinates(), imported.source, ids_with_size=with_size
    )
    with_boxes = {record["image_id"] for _, record in pairs}
    for image_id, header in rotated.items():
        if unclear and image_id in with_boxes:
            add("unclear-rotation", header.path, f"EXIF orientation {header.orientation}")
