"""Find the annotation files of formats that have one file for each split."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence

from retina_plugin.data.data_path import SPLIT_NAMES
from retina_plugin.data.importers.image_files import ImageFolder
from retina_plugin.data.importers.run_folders import is_planned, is_run_folder

FOLDERS = frozenset(
    {"annotation", "annotations", "annots", "ann", "anns", "label", "labels", "xml", "xmls"}
)
MOST_FILES = 50  # a folder with more files of a format has one for each image, not for each split


def split_of(name: str) -> str | None:
    """Return the split in the name of a file or folder: "train", "val", "test", or None."""
    words = re.split(r"[^a-z]+", name.lower())
    found = {SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES}
    return found.pop() if len(found) == 1 else None


def annotation_files(
    path: str, suffixes: Sequence[str], fits: Callable[[str], bool]
) -> dict[str, str]:
    """Return the files of a format by split.

    Args:
        path: a file, or a folder, which is searched together with the folders directly below it.
            Folders of runs are left out, and so are files of plans if there are images.
        suffixes: suffixes of the files to look for in a folder, such as ".csv".
        fits: returns whether a file has the format.

    Returns:
        {split: file}. A single file has the split "". Several files have the splits in their names
        or in their folders' names. If a split is missing or occurs twice, the keys are the names of
        the files without suffix; if these are equal too, the names of the folders, or both. Empty
        if no file has the format.
    """
    if not os.path.isdir(path):
        return {"": path} if fits(path) else {}
    files = [file for file in _candidates(path, suffixes) if fits(file)]
    planned = [file for file in files if is_planned(file)]
    if planned and ImageFolder(path).names:  # else it is the folder of a plan
        files = [file for file in files if file not in planned]
    if len(files) < 2:
        return {"": files[0]} if files else {}
    names = [os.path.relpath(file, path) for file in files]
    splits = [split_of(os.path.basename(n)) or split_of(os.path.dirname(n)) for n in names]
    if None in splits or len(set(splits)) < len(splits):
        splits = _different_keys([os.path.splitext(name)[0] for name in names])
    return {split or "": file for split, file in zip(splits, files, strict=True)}


def _different_keys(names: Sequence[str]) -> list[str | None]:
    """Return a key for each path that can stand after ``PATH:``, the shortest that differ."""
    keys: list[list[str | None]] = [
        [re.sub(r"[/@:]", "_", part(name)) for name in names]
        for part in (os.path.basename, os.path.dirname, str)
    ]
    different = (found for found in keys if len(set(found)) == len(names) and all(found))
    return next(different, [*names])


def _candidates(folder: str, suffixes: Sequence[str]) -> Iterator[str]:
    for place in (folder, *(path for _, path in folders_in(folder))):
        files = files_in(place, suffixes)
        if len(files) <= MOST_FILES:
            yield from files


def folders_in(folder: str) -> list[tuple[str, str]]:
    """Return (name in lower case, path) of the folders in a folder, sorted, without hidden ones and
    those of runs."""
    with os.scandir(folder or ".") as entries:
        found = sorted(e.path for e in entries if e.is_dir() and not e.name.startswith("."))
    found = [path for path in found if not is_run_folder(path)]
    return [(os.path.basename(path).lower(), path) for path in found]


def only_folder(folder: str, fits: Callable[[str], bool]) -> str | None:
    """Return the folder in ``folder`` that has the files of a format; None if none or several
    have."""
    found = [path for _, path in folders_in(folder) if fits(path)]
    return found[0] if len(found) == 1 else None


def files_in(folder: str, suffixes: Sequence[str]) -> list[str]:
    """Return the files in a folder that have one of the suffixes, sorted, without hidden files."""
    with os.scandir(folder or ".") as entries:
        names = [entry.name for entry in entries if entry.is_file()]
    return sorted(
        os.path.join(folder, name)
        for name in names
        if name.lower().endswith(tuple(suffixes)) and not name.startswith(".")
    )


def folders_beside(file: str, path: str) -> list[str]:
    """Return the folders to search for files that belong to an annotation file: its folder, and
    ``path``, as the user gave it, if that is a folder."""
    folders = [os.path.dirname(file), *([path] if os.path.isdir(path) else [])]
    return list(dict.fromkeys(folders))
