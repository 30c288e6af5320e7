"""Data sets named by a path: PATH, PATH:SPLIT, FILE@IMAGE_FOLDER."""

from __future__ import annotations

import os
from typing import NamedTuple

# also what people call the splits
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
    """A data set named by a path.

    Attributes:
        path: of a file or folder; ``~`` is expanded.
        split: "" if none is named.
        image_folder: "" if none is named.
    """

    path: str
    split: str = ""
    image_folder: str = ""


def parse_data_path(name: str) -> DataPath | None:
    """Read ``PATH``, ``PATH:SPLIT``, ``PATH@IMAGE_FOLDER`` or ``PATH:SPLIT@IMAGE_FOLDER``.

    A path that exists is one even if it has ``:`` or ``@``.

    Returns:
        None if the name is no path: nothing of that name exists, and it has neither a separator
        nor the suffix of an annotation file.
    """
    text = os.path.expanduser(name)
    for end in [len(text), *(i for i, c in enumerate(text) if c == "@")]:
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
    """The name of a data set with absolute paths; other names as they are. It tells whether two
    names mean the same files."""
    found = parse_data_path(name)
    if found is None:
        return name
    split = f":{found.split}" if found.split else ""
    folder = f"@{os.path.abspath(found.image_folder)}" if found.image_folder else ""
    return f"{os.path.abspath(found.path)}{split}{folder}"
