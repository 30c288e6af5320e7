"""Find the importer of a path by the content of its files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from retina_plugin.data.data_path import SPLIT_NAMES
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.importers.image_files import is_image
from retina_plugin.data.importers.imported import Importer
from retina_plugin.data.importers.registry import IMPORTERS

FORMATS_PAGE = "docs/your_own_data.md"
DEPTH = 3  # folders that are looked into to say what is there
MOST = 10_000  # files that are counted for that


class Recognised(NamedTuple):
    """The format of a path.

    Attributes:
        format: name of the importer.
        importer: that reads it.
        splits: see :meth:`retina_plugin.data.importers.Importer.splits`.
    """

    format: str
    importer: Importer
    splits: Mapping[str, str]


def recognise(path: str) -> Recognised:
    """Ask all importers for the format of a file or folder.

    Raises:
        DatasetError: there is nothing, no importer knows it, or several do; the message says what
            was found and what to do.
    """
    if not os.path.exists(path):
        raise DatasetError(f"no data set at {os.path.abspath(path)}: no such file or folder")
    found = recognising(path)
    if len(found) > 1:
        formats = "; ".join(f"{entry.format} ({_files(entry)})" for entry in found)
        raise DatasetError(
            f"{path} has annotations in {len(found)} formats: {formats}. Name the file or folder "
            "of the annotations that you mean, or move the others elsewhere."
        )
    if not found:
        raise DatasetError(f"{path}: no annotation format is recognised. {_what_is_there(path)}")
    return found[0]


def choose_split(found: Recognised, path: str, wanted: str) -> str:
    """The key of a split.

    Args:
        found, path: what was recognised, and where.
        wanted: as the user wrote it, such as "valid"; "" for the only one, or that for training.

    Raises:
        DatasetError: there is no such split, or none is named and none is for training.
    """
    known = SPLIT_NAMES.get(wanted.lower(), wanted)
    for name in (wanted, known) if wanted else ("", "train"):
        if name in found.splits:
            return name
    if not wanted and len(found.splits) == 1:
        return next(iter(found.splits))
    names = ", ".join(name for name in found.splits if name)
    if not names:
        raise DatasetError(
            f"{path} ({found.format}) has no splits, found {wanted!r}: name {path} alone, or the "
            "annotations of that split"
        )
    asked = f"no split {wanted!r}" if wanted else "no split train"
    first = next(name for name in found.splits if name)
    raise DatasetError(
        f"{path} ({found.format}) has {asked}, but {names}: name it {path}:{first}, for example"
    )


def recognising(path: str) -> list[Recognised]:
    """Return the importers that know the format of an existing file or folder."""
    found = []
    for name, kind in IMPORTERS.items():
        importer = kind()
        splits = importer.splits(path)
        if splits is not None:
            found.append(Recognised(name, importer, splits))
    return found


def _files(found: Recognised) -> str:
    return ", ".join(f"{name}: {files}" if name else files for name, files in found.splits.items())


def _what_is_there(path: str) -> str:
    """What a path has, and what to do about it."""
    formats = f"Known formats: {', '.join(IMPORTERS)}; see {FORMATS_PAGE}."
    if os.path.isfile(path):
        return f"{formats}"
    counts = Counter(_kinds(path))
    if not counts:
        return "The folder has no files."
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.most_common(6))
    inside = [
        f"{os.path.join(path, name)} ({' and '.join(e.format for e in entries)})"
        for name in sorted(os.listdir(path))
        if os.path.isdir(os.path.join(path, name)) and not name.startswith(".")
        if (entries := recognising(os.path.join(path, name)))
    ]
    if inside:
        return f"It has folders that are: {', '.join(inside[:5])}. Name one of them."
    if set(counts) == {"images"}:
        return (
            f"It has {kinds}, but no annotations. If they are elsewhere, name the data set "
            f"ANNOTATIONS@{path}. {formats}"
        )
    return f"It has {kinds}. {formats}"


def _kinds(folder: str) -> Iterator[str]:
    """ "images" or the suffix of each file below a folder."""
    left = MOST
    for base, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if os.path.relpath(base, folder).count(os.sep) >= DEPTH - 1:
            folders.clear()
        for name in files:
            suffix = os.path.splitext(name)[1].lower()
            yield "images" if is_image(name) else f"{suffix or 'files without suffix'}"
            left -= 1
            if not left:
                return
