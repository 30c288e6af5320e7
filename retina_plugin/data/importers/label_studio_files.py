"""Find and read Label Studio's files: exports of all tasks, and target storage folders.

A target storage folder has a file for each task or for each annotation. The file of an annotation
has no suffix, and contains its task under the key "task".
Sources: https://labelstud.io/guide/task_format, https://labelstud.io/guide/export
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from retina_plugin.data.coco_json import parse_json
from retina_plugin.data.data_path import SPLIT_NAMES
from retina_plugin.data.entry_errors import reading_entry
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.importers.annotation_files import (
    annotation_files,
    files_in,
    folders_in,
    only_folder,
)
from retina_plugin.data.importers.json_entries import require_dict, require_list
from retina_plugin.data.importers.json_head import json_head
from retina_plugin.data.importers.progress import with_progress

SAMPLE = 3  # number of files of a folder that are inspected
LISTS = {"annotations", "completions"}  # the second is the name before version 1


class Task(NamedTuple):
    """An image with its annotations.

    Attributes:
        place: the file and entry, for messages.
        fields: "data" and other keys of the task; of a JSON-MIN export, all keys.
        annotations: (place, annotation) pairs; None for a task of a JSON-MIN export.
    """

    place: str
    fields: Mapping[str, Any]
    annotations: list[tuple[str, dict[str, Any]]] | None


def find_sources(path: str) -> dict[str, str]:
    """Return {split: export file or folder of stored files}; empty if there is none."""
    if os.path.isfile(path):
        return {"": path} if _is_export(path) or _is_stored(path) else {}
    exports = annotation_files(path, (".json",), _is_export)
    folders = _storage_folders(path)
    if not exports or not folders:
        return exports or folders
    sources = [*exports.values(), *folders.values()]
    return {os.path.splitext(os.path.relpath(source, path))[0]: source for source in sources}


def stored_files(source: str) -> list[str]:
    """Return the files of a source."""
    if os.path.isfile(source):
        return [source]
    files = [
        file
        for file in files_in(source, ("",))
        if os.path.basename(file).isdecimal() or file.lower().endswith(".json")
    ]
    return sorted(files, key=lambda file: (len(file), file))  # 2.json before 10.json


def read_tasks(source: str, notes: list[tuple[str, str]]) -> Iterator[Task]:
    """Yield the tasks of a source. Annotations of one task in several files give one task.

    Args:
        source: a value of :func:`find_sources`.
        notes: a (text, place) pair is added for each file that is left out.

    Raises:
        DatasetError: a file or task is invalid.
    """
    if os.path.isfile(source) and _is_export(source):
        content = parse_json(source)
        if not isinstance(content, list):
            raise DatasetError(f"{source}: expected a list of tasks, found an object")
        entries = [(f"{source}, entry {n}", entry) for n, entry in enumerate(content)]
    else:
        entries = list(_stored_entries(source, notes))
    by_task: dict[str, Task] = {}
    for place, entry in entries:
        with reading_entry(place):
            task = _task(require_dict(entry, place), place)
            if "task" not in entry or "result" not in entry:
                by_task[place] = task
            else:
                first = by_task.setdefault(_key(task.fields), task)
                if first is not task and first.annotations and task.annotations:
                    first.annotations.extend(task.annotations)
    yield from by_task.values()


def _storage_folders(path: str) -> dict[str, str]:
    if _is_storage(path):
        return {"": path}
    splits = {SPLIT_NAMES[name]: folder for name, folder in folders_in(path) if name in SPLIT_NAMES}
    found = {split: folder for split, folder in splits.items() if _is_storage(folder)}
    only = None if found else only_folder(path, _is_storage)
    return found if only is None else {"": only}


def _is_storage(folder: str) -> bool:
    return any(map(_is_stored, stored_files(folder)[:SAMPLE]))


def _is_export(path: str) -> bool:
    head = json_head(path)
    if head is None or head.kind != "array":
        return False
    tasks = "data" in head.keys and bool(head.keys & {*LISTS, "predictions"})
    return tasks or '"original_width"' in head.text or '"was_cancelled"' in head.text


def _is_stored(path: str) -> bool:
    head = json_head(path)
    if head is None or head.kind != "object" or head.keys & {"images", "categories"}:
        return False
    if not head.keys & {*LISTS, "result"}:
        return False
    # the keys may follow regions that are longer than the head
    texts = ('"original_width"', '"was_cancelled"')
    return bool(head.keys & {"data", "task"}) or any(text in head.text for text in texts)


def _stored_entries(source: str, notes: list[tuple[str, str]]) -> Iterator[tuple[str, Any]]:
    for file in with_progress(stored_files(source), "JSON files"):
        content = None
        with reading_entry(file):
            content = parse_json(file)
        if isinstance(content, dict) and content.keys() & {"data", "task"}:
            yield file, content
        elif content is not None:
            notes.append(("JSON files are not Label Studio's and were left out", file))


def _task(entry: dict[str, Any], place: str) -> Task:
    if "task" in entry and "result" in entry:
        return Task(place, require_dict(entry["task"], f"{place}, 'task'"), [(place, entry)])
    if "data" not in entry:
        return Task(place, entry, None)
    key = "completions" if "completions" in entry and "annotations" not in entry else "annotations"
    annotations = require_list(entry, key, place) if key in entry else []
    return Task(
        place,
        entry,
        [
            (where := f"{place}, entry {number} of {key!r}", require_dict(annotation, where))
            for number, annotation in enumerate(annotations)
        ],
    )


def _key(task: Mapping[str, Any]) -> str:
    """Return a key that all annotations of a task have in common."""
    return str(task["id"]) if "id" in task else json.dumps(task.get("data"), sort_keys=True)
