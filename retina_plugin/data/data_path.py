"""Parse data set names that are paths: PATH, PATH:SPLIT, PATH@IMAGE_FOLDER."""

from __future__ import annotations

import os
from typing import NamedTuple

# {common name of a split: split}
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
SUFFIXES = {".json", ".jsonl", ".csv", ".tsv", ".txt", ".xml", ".yaml", ".yml", ".zip"}


class DataPath(NamedTuple):
    """The parts of a data set name that is a path.

    Attributes:
        path: a file or folder; ``~`` is expanded.
        split: "" if the name has no split.
        image_folder: "" if the name has no image folder.
    """

    path: str
    split: str = ""
    image_folder: str = ""


def parse_data_path(name: str) -> DataPath | None:
    """Parse ``PATH``, ``PATH:SPLIT``, ``PATH@IMAGE_FOLDER`` or ``PATH:SPLIT@IMAGE_FOLDER``.

    An existing path may contain ``:`` or ``@``; the longest one is used.

    Returns:
        None if the name is not a path: no such file exists, and the name has neither a separator
        nor the suffix of an annotation file.
    """
    text = os.path.expanduser(name)
    for end in reversed([*(i for i, c in enumerate(text) if c == "@"), len(text)]):
        found = _with_split(text[:end])
        if found is not None and os.path.exists(found.path):
            return found._replace(image_folder=os.path.expanduser(text[end + 1 :]))
    path, json_at, image_folder = text.rpartition(".json@")
    if json_at:
        return DataPath(f"{path}.json", image_folder=image_folder)
    path, _, image_folder = text.partition("@")
    found = _with_split(path) or DataPath(path)
    known = os.path.splitext(found.path)[1].lower() in SUFFIXES
    return found._replace(image_folder=image_folder) if known or os.sep in text else None


def _with_split(text: str) -> DataPath | None:
    path, colon, split = text.rpartition(":")
    if os.path.exists(text) or not colon:
        return DataPath(text)
    return DataPath(path, split) if path and not {os.sep, "@"} & set(split) else None


def absolute_name(name: str) -> str:
    """Return the name of a data set with absolute paths, to compare names; names that are not paths
    are unchanged."""
    found = parse_data_path(name)
    if found is None:
        return name
    split = f":{found.split}" if found.split else ""
    folder = f"@{os.path.abspath(found.image_folder)}" if found.image_folder else ""
    return f"{os.path.abspath(found.path)}{split}{folder}"
