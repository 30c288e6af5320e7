"""Import COCO JSON files by path, including exports of Roboflow, CVAT, Label Studio and LabelMe.

Roboflow adds a category that is only the supercategory of the others. Such a category is dropped
if it has no annotation in any split.
Source: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from retina_plugin.data.coco_json import read_json
from retina_plugin.data.entry_errors import reading_entry
from retina_plugin.data.importers.annotation_files import annotation_files, split_of
from retina_plugin.data.importers.coco_images import find_image_root
from retina_plugin.data.importers.imported import Imported
from retina_plugin.data.importers.json_head import HEAD, json_head
from retina_plugin.data.importers.registry import IMPORTERS

LISTS = {"images", "annotations", "categories"}
# prefixes of official COCO files that have no boxes, or those of instances_*.json: in a folder,
# they are used only if there are no others
SKIPPED_PREFIXES = ("captions_", "image_info_", "panoptic_", "person_keypoints_", "stuff_")
ROBOFLOW_FILE = "_annotations.coco.json"


@IMPORTERS.register("COCO")
class CocoImporter:
    """Reads JSON files in COCO format: one file, or a folder with a file for each split."""

    def splits(self, path: str) -> Mapping[str, str] | None:
        """See :class:`Importer`."""
        return _files(path) or None

    def read(self, path: str, split: str, *, image_folder: str = "") -> Imported:
        """See :class:`Importer`."""
        files = _files(path)
        json_file = files[split]
        content, lines = read_json(json_file)
        dropped = _drop_unused_supercategories(content, _other_files(json_file, files))
        names = [image["file_name"] for image in content["images"]]
        root, found = find_image_root(
            names, json_file, path=path, split=split, image_folder=image_folder
        )
        for image, name in zip(content["images"], found, strict=True):
            image["file_name"] = name
        title = f"COCO, split {split}" if split else "COCO"
        return Imported(
            format=f"{title}, images in {root}",
            source=json_file,
            image_root=root,
            content=content,
            places=(),
            notes=(*lines, *dropped, *_moved_note(names, found)),
            watched=(json_file, *_other_files(json_file, files)),
        )


def _files(path: str) -> dict[str, str]:
    return annotation_files(path, (".json",), _has_instances) or annotation_files(
        path, (".json",), _is_coco
    )


def _has_instances(path: str) -> bool:
    return not os.path.basename(path).startswith(SKIPPED_PREFIXES) and _is_coco(path)


def _is_coco(path: str) -> bool:
    head = json_head(path)
    if head is None or head.kind != "object":
        return False
    if os.path.getsize(path) <= HEAD:
        return head.keys >= {"images", "categories"}
    # the key "images" or "annotations" alone is not enough: other formats have it too
    texts = ('"image_id"', '"file_name"')
    is_coco = "categories" in head.keys or any(text in head.text for text in texts)
    return bool(head.keys & LISTS) and is_coco


def _other_files(json_file: str, files: Mapping[str, str]) -> list[str]:
    """Return the files of the other splits.

    If ``files`` has only one file, from a Roboflow export, look in the folders beside its folder.
    """
    others = [file for file in files.values() if file != json_file]
    folder = os.path.dirname(os.path.abspath(json_file))
    if (
        not others
        and os.path.basename(json_file) == ROBOFLOW_FILE
        and split_of(os.path.basename(folder))
    ):
        above = os.path.dirname(folder)
        beside = [os.path.join(above, name, ROBOFLOW_FILE) for name in sorted(os.listdir(above))]
        others = [file for file in beside if os.path.isfile(file)]
    return [file for file in others if os.path.abspath(file) != os.path.abspath(json_file)]


def _drop_unused_supercategories(content: dict[str, Any], others: list[str]) -> list[str]:
    """Drop categories without annotations that are the supercategory of others, in place, and
    return a note for each.

    Source: https://github.com/roboflow/rf-detr/pull/1303
    """
    unused = _unused_supercategories(content)
    for file in others if unused else ():
        with reading_entry(file):
            other, _ = read_json(file)
            unused &= _unused_supercategories(other)
    kept = [entry for entry in content["categories"] if entry["name"] not in unused]
    dropped = [entry for entry in content["categories"] if entry["name"] in unused]
    content["categories"] = kept
    return [
        f"category {entry['id']!r} ({entry['name']!r}) is the supercategory of others and has no "
        "annotation, as in Roboflow's exports: it was dropped"
        for entry in dropped
    ]


def _unused_supercategories(content: Mapping[str, Any]) -> set[str]:
    used = {annotation["category_id"] for annotation in content.get("annotations", [])}
    parents = {
        entry.get("supercategory")
        for entry in content["categories"]
        if entry.get("supercategory") != entry["name"]
    }
    return {
        entry["name"]
        for entry in content["categories"]
        if entry["id"] not in used and entry["name"] in parents
    }


def _moved_note(names: list[str], found: list[str]) -> list[str]:
    changed = [(a, b) for a, b in zip(names, found, strict=True) if a != b]
    if not changed:
        return []
    first = f"{changed[0][0]!r} is the file {changed[0][1]!r}"
    return [f"{len(changed)} of {len(names)} images were found by their base name (first: {first})"]
