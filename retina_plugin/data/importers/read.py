"""Read annotations of any format, given a path."""

from __future__ import annotations

import os
from collections.abc import Iterator

from retina_plugin.data.data_path import DataPath
from retina_plugin.data.entry_errors import collecting_entry_errors
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.importers.classes import with_classes_of
from retina_plugin.data.importers.imported import Imported
from retina_plugin.data.importers.recognise import Recognised, choose_split, recognise
from retina_plugin.data.importers.run_folders import walk_data

# suffixes of annotation files; of other files below a folder, only the names are used
TEXT = (".txt", ".xml", ".json", ".jsonl", ".csv", ".tsv", ".yaml", ".yml")


def read_path(where: DataPath) -> Imported:
    """Recognise the format of a path and read a split.

    If the format has no list of classes, the classes are those of the boxes of all splits, sorted
    by name, so that all splits have the same classes.

    Raises:
        DatasetError: the format is not recognised, see
            :func:`retina_plugin.data.importers.recognise.recognise`; or an entry cannot be used.
    """
    found = recognise(where.path)
    split = choose_split(found, where.path, where.split)
    imported = found.importer.read(where.path, split, image_folder=where.image_folder)
    if imported.classes_are_listed or len(found.splits) == 1:
        return imported
    others = (_read_other(found, where, other) for other in found.splits if other != split)
    return with_classes_of(imported, [other for other in others if other is not None])


def _read_other(found: Recognised, where: DataPath, split: str) -> Imported | None:
    """Read a split for its classes; None if it cannot be read, which is an error only for those who
    use that split."""
    with collecting_entry_errors():
        try:
            return found.importer.read(where.path, split, image_folder=where.image_folder)
        except DatasetError:
            return None


def state_of(*paths: str) -> int:
    """Return a number that changes if a file changes. For a folder, it changes if files are added
    or removed, or a text file changes."""
    return hash(tuple(entry for path in paths for entry in _states(path)))


def _states(path: str) -> Iterator[tuple[str, int, int]]:
    if not os.path.isdir(path):
        yield _state(path)
        return
    for base, files in walk_data(path):
        for name in files:
            file = os.path.join(base, name)
            yield _state(file) if name.lower().endswith(TEXT) else (file, 0, 0)


def _state(path: str) -> tuple[str, int, int]:
    """Return path, modification time and size of a file; zeros if the file does not exist."""
    if not os.path.exists(path):
        return path, 0, 0
    found = os.stat(path)
    return path, found.st_mtime_ns, found.st_size
