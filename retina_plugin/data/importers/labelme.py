"""Import LabelMe's JSON: one file for each image, beside the image or in a separate folder.

Corners of rectangles have any order; a circle is its centre and a point on it. Shapes with the same
label and ``group_id`` are parts of one object. ``imagePath`` often has the folders of another
computer, so images are also found by base name.
Source: https://github.com/wkentaro/labelme
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import PureWindowsPath
from typing import Any

from retina_plugin.data.coco_json import parse_json
from retina_plugin.data.entry_errors import reading_entry
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.importers.annotation_files import (
    FOLDERS,
    files_in,
    folders_in,
    only_folder,
    split_of,
)
from retina_plugin.data.importers.collect_images import note_moved
from retina_plugin.data.importers.collector import Collector
from retina_plugin.data.importers.flags import read_flags
from retina_plugin.data.importers.image_files import is_visible_image
from retina_plugin.data.importers.image_places import ImageFinder, place_images
from retina_plugin.data.importers.imported import Imported
from retina_plugin.data.importers.json_entries import (
    image_size_of,
    require_dict,
    require_list,
    require_text,
)
from retina_plugin.data.importers.json_head import json_head
from retina_plugin.data.importers.labelme_shapes import box_of
from retina_plugin.data.importers.progress import with_progress
from retina_plugin.data.importers.registry import IMPORTERS
from retina_plugin.data.importers.run_folders import is_planned, walk_data
from retina_plugin.data.importers.shapes import Box, enclosing_box

SAMPLE = 3  # number of JSON files of a folder that are inspected


@IMPORTERS.register("LabelMe")
class LabelMe:
    """Reads folders of LabelMe's JSON files, or one file."""

    def splits(self, path: str) -> Mapping[str, str] | None:
        """See :class:`Importer`. Folders train, val and test with LabelMe files are splits."""
        if os.path.isfile(path):
            return {"": path} if _is_labelme(path) else None
        folders = folders_in(path)
        if any(_has_files(f) for f in (path, *(f for name, f in folders if name in FOLDERS))):
            return {"": path}
        found = {
            split: folder
            for name, folder in folders
            if (split := split_of(name)) and (_has_files(folder) or only_folder(folder, _has_files))
        }
        return found or ({"": path} if only_folder(path, _has_files) else None)

    def read(self, path: str, split: str, *, image_folder: str = "") -> Imported:
        """See :class:`Importer`."""
        source = (self.splits(path) or {})[split]
        contents, others = _read(_files(source))
        folder = source if os.path.isdir(source) else path
        collector = _collect(contents, source, folder, image_folder)
        for file in others:
            collector.note("JSON files are not LabelMe's and were left out", file)
        _note_images_without_file(collector, source)
        return collector.finish()


def _files(source: str) -> list[str]:
    """Return all JSON files below a folder, or ``source`` if it is a file."""
    if os.path.isfile(source):
        return [source]
    found = []
    for base, names in walk_data(source):
        found += [os.path.join(base, n) for n in names if n.lower().endswith(".json")]
    return sorted(file for file in found if not is_planned(file))


def _has_files(folder: str) -> bool:
    """Return whether one of the first JSON files in a folder has LabelMe's format."""
    return any(map(_is_labelme, files_in(folder, (".json",))[:SAMPLE]))


def _is_labelme(path: str) -> bool:
    head = json_head(path)
    if head is None or head.kind != "object":
        return False
    image = head.keys & {"imagePath", "imageData", "imageHeight", "imageWidth"}
    return bool(image) or head.keys >= {"shapes", "version", "flags"}


def _read(files: Sequence[str]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return {file: content}, and the files that are not LabelMe's."""
    contents: dict[str, dict[str, Any]] = {}
    others = []
    for file in with_progress(files, "JSON files"):
        with reading_entry(file):
            content = parse_json(file)
            if isinstance(content, dict) and content.keys() & {"shapes", "imagePath"}:
                require_list(content, "shapes", file)
                contents[file] = content
            else:
                others.append(file)
    return contents, others


def _collect(
    contents: Mapping[str, dict[str, Any]], source: str, folder: str, image_folder: str
) -> Collector:
    if not contents:
        raise DatasetError(f"{source}: expected LabelMe's JSON files, found none")
    finders: dict[str, ImageFinder] = {}  # by the folder of the JSON file
    for file in contents:
        finder = ImageFinder(file, path=folder, image_folder=image_folder)
        finders.setdefault(os.path.dirname(file), finder)
    collector = Collector(
        format="LabelMe",
        source=source,
        image_root=next(iter(finders.values())).root,
        class_names=None,
        watched=[source],
    )
    file_of: dict[str, str] = {}  # by image
    for file, content in contents.items():
        with reading_entry(file):
            name = _place(content, file, finders[os.path.dirname(file)], collector)
            other = file_of.setdefault(name, file)
            if other != file:
                raise DatasetError(
                    f"{file}: expected one file for each image, found {name!r} in {other} too. "
                    "Remove one of them, or correct imagePath."
                )
            _add(collector, name, content, file)
    return collector


def _place(content: Mapping[str, Any], file: str, finder: ImageFinder, collector: Collector) -> str:
    """Return the name of the image that a JSON file belongs to."""
    written = require_text(content, "imagePath", file)
    base = PureWindowsPath(written).name
    same_stem = os.path.splitext(os.path.basename(file))[0] + os.path.splitext(base)[1]
    places = place_images([[written, base]], finder, source=file, otherwise=lambda _: "")
    if not places.names[0]:
        places = place_images([[same_stem]], finder, source=file, otherwise=lambda _: base)
        if places.names[0] != base:
            collector.note(
                "images are missing at imagePath and were found by the name of their JSON file",
                file,
            )
    note_moved(collector, places, file)
    return places.names[0]


def _add(collector: Collector, name: str, content: Mapping[str, Any], file: str) -> None:
    """Add an image with its boxes."""
    size = image_size_of(content, ("imageWidth", "imageHeight"), file)
    image = collector.add_image(name, **size)
    groups: dict[object, list[tuple[str, Box, str, dict[str, int]]]] = {}
    for number, entry in enumerate(content["shapes"]):
        place = f"{file}, entry {number} of 'shapes'"
        with reading_entry(place):
            shape = require_dict(entry, place)
            box = box_of(shape, collector, place)
            if box is None:
                continue
            label = require_text(shape, "label", place)
            shape_flags = require_dict(shape.get("flags") or {}, f"{place}, 'flags'")
            flags = read_flags({**shape, **shape_flags}, place)
            group = shape.get("group_id")
            key = number if group is None else (label, str(group))
            groups.setdefault(key, []).append((label, box, place, flags))
    for parts in groups.values():
        label, _, place, _ = parts[0]
        if len(parts) > 1:
            collector.note("boxes enclose several shapes of one group_id", place)
        corners = [corner for _, box, _, _ in parts for corner in (box[:2], box[2:])]
        flags = {name: value for part in parts for name, value in part[3].items() if value}
        collector.add_box(image, label, enclosing_box(corners), place=place, **flags)


def _note_images_without_file(collector: Collector, source: str) -> None:
    """Add a note for each image of the folder without a JSON file."""
    if not os.path.isdir(source):
        return
    used = {
        os.path.abspath(os.path.join(collector.image_root, image["file_name"]))
        for image in collector.images
    }
    for base, names in walk_data(source):
        for name in names:
            path = os.path.join(base, name)
            if is_visible_image(name) and os.path.abspath(path) not in used:
                collector.note("images have no JSON file and are not used", path)
