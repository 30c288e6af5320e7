"""The annotation files of formats that keep all boxes of a split in one file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence

from retina_plugin.data.data_path import SPLIT_NAMES

FOLDERS = frozenset({"annotation", "annotations", "ann", "anns", "label", "labels"})
MOST_FILES = 50  # of a kind in one folder; more are those of a format with a file an image


def split_of(name: str) -> str | None:
    """The split that a file or folder is named after: "train", "val", "test", or None."""
    words = re.split(r"[^a-z]+", name.lower())
    found = {SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES}
    return found.pop() if len(found) == 1 else None


def annotation_files(
    path: str, suffixes: Sequence[str], fits: Callable[[str], bool]
) -> dict[str, str]:
    """The files of a format by split.

    Args:
        path: a file, or a folder with files in itself and in the folders directly below.
        suffixes: of the files in a folder, such as ".csv".
        fits: whether a file has the format.

    Returns:
        Split -> file. A single file has the split ""; several have those of their names or of
        their folders' names, or if these are not different, their own names. Empty if there is
        none.
    """
    if not os.path.isdir(path):
        return {"": path} if fits(path) else {}
    files = [file for file in _candidates(path, suffixes) if fits(file)]
    if len(files) < 2:
        return {"": files[0]} if files else {}
    names = [os.path.relpath(file, path) for file in files]
    splits = [split_of(os.path.basename(n)) or split_of(os.path.dirname(n)) for n in names]
    if None in splits or len(set(splits)) < len(splits):
        splits = [os.path.splitext(name)[0] for name in names]
    return {split or "": file for split, file in zip(splits, files, strict=True)}


def _candidates(folder: str, suffixes: Sequence[str]) -> Iterator[str]:
    folders = [folder]
    with os.scandir(folder) as entries:
        folders += sorted(e.path for e in entries if e.is_dir() and not e.name.startswith("."))
    for place in folders:
        files = files_in(place, suffixes)
        if len(files) <= MOST_FILES:
            yield from files


def files_in(folder: str, suffixes: Sequence[str]) -> list[str]:
    """The files with one of the suffixes in a folder, sorted; hidden ones are left out."""
    with os.scandir(folder or ".") as entries:
        names = [entry.name for entry in entries if entry.is_file()]
    return sorted(
        os.path.join(folder, name)
        for name in names
        if name.lower().endswith(tuple(suffixes)) and not name.startswith(".")
    )


def folders_beside(file: str, path: str) -> list[str]:
    """Where files that belong to an annotation file may be: its folder, and that which the user
    named."""
    folders = [os.path.dirname(file), *([path] if os.path.isdir(path) else [])]
    return list(dict.fromkeys(folders))
