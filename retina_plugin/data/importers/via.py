"""Import JSON, CSV and project files of VGG Image Annotator (VIA 1 and 2), with rectangles,
polygons, circles and ellipses in pixels.

The class is a value in ``region_attributes``. Annotators choose its key.
Source: https://gitlab.com/vgg/via/-/blob/master/via-2.x.y/CodeDoc.md
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from retina_plugin.data.coco_json import parse_json
from retina_plugin.data.entry_errors import reading_entry
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.importers.annotation_files import annotation_files
from retina_plugin.data.importers.box_rows import note_moved
from retina_plugin.data.importers.collector import Collector
from retina_plugin.data.importers.csv_table import Row, Rows, head_rows, read_rows, require_length
from retina_plugin.data.importers.flags import read_flags
from retina_plugin.data.importers.image_places import ImageFinder, place_images
from retina_plugin.data.importers.imported import Imported
from retina_plugin.data.importers.json_entries import require_dict, require_text
from retina_plugin.data.importers.json_head import json_head
from retina_plugin.data.importers.registry import IMPORTERS
from retina_plugin.data.importers.via_regions import Region, box_of, classes_of

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
        images = _read_csv(file) if file.lower().endswith(".csv") else _read_json(file)
        if not images:
            raise DatasetError(f"{file}: expected images, found none")
        finder = ImageFinder(file, path=path, split=split, image_folder=image_folder)
        spellings = [list(dict.fromkeys((name, unquote(name)))) for name in images]
        places = place_images(spellings, finder, source=file)
        collector = Collector(
            format="VIA" + (f", {os.path.basename(file)}" if split else ""),
            source=file,
            image_root=places.root,
            class_names=None,
            watched=[file],
        )
        regions = [region for of_image in images.values() for region in of_image]
        classes = iter(classes_of(regions, collector, file))
        for name, of_image in zip(places.names, images.values(), strict=True):
            image = collector.add_image(name)
            for region in of_image:
                with reading_entry(region.place):
                    _add(collector, image, region, next(classes))
        note_moved(collector, places, file)
        return collector.finish()


def _add(collector: Collector, image: int, region: Region, classes: list[str]) -> None:
    box = box_of(region, collector)
    if box is None:
        return
    flags = read_flags(region.attributes, region.place)
    if len(classes) > 1:
        collector.note("regions have several classes and give a box for each", region.place)
    for name in classes:
        collector.add_box(image, name, box, place=region.place, **flags)


def _fits(path: str) -> bool:
    if path.lower().endswith(".csv"):
        return head_rows(path, _has_header) is not None
    head = json_head(path)
    if head is None or head.kind != "object":
        return False
    return "_via_img_metadata" in head.keys or (
        '"regions"' in head.text and '"filename"' in head.text and '"images"' not in head.text
    )


def _has_header(rows: Rows) -> bool:
    return set(COLUMNS) <= set(_header(rows[0]))


def _header(cells: list[str]) -> list[str]:
    return [name.lower().removeprefix("#") for name in cells]


def _read_json(file: str) -> dict[str, list[Region]]:
    """Return {image name: regions}."""
    content = require_dict(parse_json(file), file)
    entries = require_dict(content.get("_via_img_metadata", content), file)
    images: dict[str, list[Region]] = {}
    for key, entry in entries.items():
        place = f"{file}, entry {key!r:.80}"
        image = require_dict(entry, place)
        name = require_text(image, "filename", place)
        if name in images:
            raise DatasetError(f"{place}: expected each image once, found {name!r} again")
        images[name] = list(_regions(image.get("regions"), place))
    return images


def _regions(regions: Any, place: str) -> Iterator[Region]:
    """Yield the regions of a list, or in VIA 1 of an object with the keys "0", "1", ..."""
    if isinstance(regions, dict):
        regions = list(regions.values())
    if not isinstance(regions, list):
        raise DatasetError(f"{place}: expected a list at 'regions', found {regions!r:.80}")
    for number, region in enumerate(regions):
        where = f"{place}, entry {number} of 'regions'"
        entry = require_dict(region, where)
        yield Region(
            require_dict(entry.get("shape_attributes"), f"{where}, 'shape_attributes'"),
            require_dict(entry.get("region_attributes"), f"{where}, 'region_attributes'"),
            where,
        )


def _read_csv(file: str) -> dict[str, list[Region]]:
    """Return {image name: regions}. An image without regions has a row with the shape {}."""
    found = head_rows(file, _has_header)
    rows = read_rows(file, found[1] if found else ",")
    header = _header(next(rows).cells)
    columns = {name: header.index(name) for name in COLUMNS}
    images: dict[str, list[Region]] = {}
    for row in rows:
        require_length(row, len(header), "as many as the header has")
        regions = images.setdefault(row.text(columns["filename"], "filename"), [])
        shape, attributes = (_cell(row, columns[name], name) for name in COLUMNS[1:])
        if shape:
            regions.append(Region(shape, attributes, row.place))
    return images


def _cell(row: Row, column: int, name: str) -> dict[str, Any]:
    """Parse a cell with a JSON object."""
    try:
        content = json.loads(row.cells[column] or "{}")
    except (ValueError, RecursionError) as error:
        raise DatasetError(
            f"{row.place}: expected JSON in column {name}, found {row.cells[column]!r:.80}"
        ) from error
    return require_dict(content, f"{row.place}, column {name}")
