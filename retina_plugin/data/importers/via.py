"""Import JSON, CSV and project files of VGG Image Annotator (VIA), with rectangles, polygons,
circles and ellipses in pixels. For projects of VIA 3, see
:mod:`retina_plugin.data.importers.via_project`.

The class is a value in ``region_attributes``. Annotators choose its key.
Source: https://gitlab.com/vgg/via/-/blob/master/via-2.x.y/CodeDoc.md
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from retina_plugin.data.coco_json import parse_json
from retina_plugin.data.entry_errors import reading_entry
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.importers.annotation_files import annotation_files
from retina_plugin.data.importers.collect_images import collect_images, split_title
from retina_plugin.data.importers.collector import Collector
from retina_plugin.data.importers.csv_table import (
    Row,
    Rows,
    head_rows,
    read_table,
    require_length,
)
from retina_plugin.data.importers.flags import read_flags
from retina_plugin.data.importers.image_places import ImageFinder
from retina_plugin.data.importers.imported import Imported
from retina_plugin.data.importers.json_entries import require_dict, require_text
from retina_plugin.data.importers.json_head import json_head
from retina_plugin.data.importers.registry import IMPORTERS
from retina_plugin.data.importers.via_project import read_project
from retina_plugin.data.importers.via_regions import (
    Region,
    ViaImage,
    box_of,
    class_key_of,
    classes_of,
)

COLUMNS = ("filename", "region_shape_attributes", "region_attributes")


@IMPORTERS.register("VIA")
class VIA:
    """Reads exports and project files of VIA."""

    def splits(self, path: str) -> Mapping[str, str] | None:
        """See :class:`Importer`."""
        return annotation_files(path, (".json", ".csv"), _fits) or None

    def read(self, path: str, split: str, *, image_folder: str = "") -> Imported:
        """See :class:`Importer`."""
        file = annotation_files(path, (".json", ".csv"), _fits)[split]
        notes: list[tuple[str, str]] = []
        images = _read_csv(file) if file.lower().endswith(".csv") else _read_json(file, notes)
        if not images:
            raise DatasetError(f"{file}: expected images, found none")
        finder = ImageFinder(file, path=path, split=split, image_folder=image_folder)
        key, known = None, False
        with reading_entry(file):
            key = class_key_of([region for image in images for region in image.regions], file)
            known = True
        if not known:  # in a check: the images are used without boxes
            images = [image._replace(regions=[]) for image in images]
        return collect_images(
            images,
            names_of=lambda image: image.names,
            add=partial(_add, key=key),
            finder=finder,
            format=split_title("VIA", file, split),
            source=file,
            notes=notes,
        )


def _add(collector: Collector, image: ViaImage, name: str, *, key: str | None) -> None:
    """Add an image with its boxes."""
    number = collector.add_image(name)
    for region in image.regions:
        with reading_entry(region.place):
            _add_region(collector, number, region, key)


def _add_region(collector: Collector, image: int, region: Region, key: str | None) -> None:
    box = box_of(region, collector)
    if box is None:
        return
    flags = read_flags(region.attributes, region.place)
    for name in classes_of(region, key, collector):
        collector.add_box(image, name, box, place=region.place, **flags)


def _fits(path: str) -> bool:
    if path.lower().endswith(".csv"):
        return head_rows(path, _has_header) is not None
    head = json_head(path)
    if head is None or head.kind != "object":
        return False
    is_project = "_via_img_metadata" in head.keys or (
        "project" in head.keys and '"vid_list"' in head.text
    )
    has_regions = '"regions"' in head.text and '"filename"' in head.text
    return is_project or (has_regions and '"images"' not in head.text)


def _has_header(rows: Rows) -> bool:
    return set(COLUMNS) <= set(_header(rows[0]))


def _header(cells: list[str]) -> list[str]:
    return [name.lower().removeprefix("#") for name in cells]


def _read_json(file: str, notes: list[tuple[str, str]]) -> list[ViaImage]:
    content = require_dict(parse_json(file), file)
    if "view" in content and "_via_img_metadata" not in content:
        images = read_project(content, file, notes)
    else:
        images = _read_images(content.get("_via_img_metadata", content), file)
    seen: set[str] = set()
    different = []
    for image in images:
        with reading_entry(image.place):
            if image.names[0] in seen:
                raise DatasetError(
                    f"{image.place}: expected each image once, found {image.names[0]!r} again"
                )
            seen.add(image.names[0])
            different.append(image)
    return different


def _read_images(content: Any, file: str) -> list[ViaImage]:
    images: list[ViaImage] = []
    for key, entry in require_dict(content, file).items():
        place = f"{file}, entry {key!r:.80}"
        with reading_entry(place):
            fields = require_dict(entry, place)
            name = require_text(fields, "filename", place)
            images.append(ViaImage([name], list(_regions(fields.get("regions"), place)), place))
    return images


def _regions(regions: Any, place: str) -> Iterator[Region]:
    """Yield the regions of a list, or in VIA 1 of an object with the keys "0", "1", ..."""
    if isinstance(regions, dict):
        regions = list(regions.values())
    if not isinstance(regions, list):
        raise DatasetError(f"{place}: expected a list at 'regions', found {regions!r:.80}")
    for number, region in enumerate(regions):
        found, where = None, f"{place}, entry {number} of 'regions'"
        with reading_entry(where):
            entry = require_dict(region, where)
            found = Region(
                require_dict(entry.get("shape_attributes"), f"{where}, 'shape_attributes'"),
                require_dict(entry.get("region_attributes"), f"{where}, 'region_attributes'"),
                where,
            )
        if found is not None:
            yield found


def _read_csv(file: str) -> list[ViaImage]:
    """Read the images. An image without regions has a row with the shape {}."""
    rows = read_table(file, _has_header)
    header = _header(next(rows).cells)
    columns = {name: header.index(name) for name in COLUMNS}
    images: dict[str, ViaImage] = {}
    for row in rows:
        with reading_entry(row.place):
            require_length(row, len(header), "as many as the header has")
            name = row.text(columns["filename"], "filename")
            shape, attributes = (_cell(row, columns[key], key) for key in COLUMNS[1:])
            image = images.setdefault(name, ViaImage([name], [], row.place))
            if shape:
                image.regions.append(Region(shape, attributes, row.place))
    return list(images.values())


def _cell(row: Row, column: int, name: str) -> dict[str, Any]:
    """Parse a cell with a JSON object."""
    try:
        content = json.loads(row.cells[column] or "{}")
    except (ValueError, RecursionError) as error:
        raise DatasetError(
            f"{row.place}: expected JSON in column {name}, found {row.cells[column]!r:.80}"
        ) from error
    return require_dict(content, f"{row.place}, column {name}")
