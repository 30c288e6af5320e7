"""Find the importer of a path by the content of its files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from retina_plugin.data.coco_json import parse_json
from retina_plugin.data.data_path import SPLIT_NAMES
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.importers.annotation_files import files_in, folders_in
from retina_plugin.data.importers.csv_table import SUFFIXES
from retina_plugin.data.importers.image_files import is_image
from retina_plugin.data.importers.imported import Importer
from retina_plugin.data.importers.registry import IMPORTERS
from retina_plugin.data.importers.text_file import lines_of_head
from retina_plugin.data.importers.xml_file import read_xml

FORMATS_PAGE = "docs/your_own_data.md"
DEPTH = 3  # levels of folders whose files are counted for an error message
FEW = 20  # number of files that are read for an error message
LARGEST = 1 << 24  # bytes of such a file
CHECKED = (".json", ".xml", ".csv", ".tsv", ".yaml", ".yml")
COLUMNS = "the columns filename, class, xmin, ymin, xmax, ymax"
MOST = 10_000  # largest number of files that are counted for an error message


class Recognised(NamedTuple):
    """The format of a path.

    Attributes:
        format: name of the format.
        importer: reads the format.
        splits: see :meth:`retina_plugin.data.importers.Importer.splits`.
    """

    format: str
    importer: Importer
    splits: Mapping[str, str]


def recognise(path: str) -> Recognised:
    """Return the only importer that knows the format of a file or folder.

    Raises:
        DatasetError: the path does not exist, or no importer knows its format, or several do. The
            message says what was found and what to do.
    """
    if not os.path.exists(path):
        raise DatasetError(f"no data set at {os.path.abspath(path)}: no such file or folder")
    found = recognising(path)
    if len(found) > 1:
        formats = "; ".join(f"{entry.format} ({_files(entry)})" for entry in found)
        raise DatasetError(
            f"{path} has annotations in {len(found)} formats: {formats}. Give the path of the "
            "annotations to use, or move the others elsewhere."
        )
    if not found:
        raise DatasetError(f"{path}: no annotation format is recognised. {_what_is_there(path)}")
    return found[0]


def choose_split(found: Recognised, path: str, wanted: str) -> str:
    """Return the key of a split.

    Args:
        found: the result of :func:`recognise`.
        path: its path, for messages.
        wanted: the split as the user wrote it, such as "valid"; "" for the split "train", or the
            only split.

    Raises:
        DatasetError: the split does not exist, or ``wanted`` is "" and there are several splits
            without "train".
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
            f"{path} ({found.format}) has no splits, found {wanted!r}: use {path} alone, or the "
            "path of the annotations of that split"
        )
    asked = f"no split {wanted!r}" if wanted else "no split train"
    first = next(name for name in found.splits if name)
    raise DatasetError(
        f"{path} ({found.format}) has {asked}, but {names}: use {path}:{first}, for example"
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
    """Describe the files of a path without a known format, and what the user can do."""
    formats = f"Known formats: {', '.join(IMPORTERS)}; see {FORMATS_PAGE}."
    broken = next(filter(None, map(_fault, _first_files(path))), "")
    if os.path.isfile(path):
        return f"{broken}{formats}"
    counts = Counter(_kinds(path))
    if not counts:
        return "The folder has no files."
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.most_common(6))
    below = [folder for _, folder in folders_in(path)]
    deeper = [folder for parent in below for _, folder in folders_in(parent)]
    inside = _recognised_among(below) or _recognised_among(deeper)
    if inside:
        return f"It has folders in known formats: {', '.join(inside[:5])}. Use one of them."
    if set(counts) == {"images"}:
        return (
            f"It has {kinds}, but no annotations. If they are elsewhere, name the data set "
            f"ANNOTATIONS@{path}. {formats}"
        )
    without = "" if counts["images"] else "There are no images in it. "
    return f"It has {kinds}. {without}{broken}{formats}"


def _recognised_among(folders: Sequence[str]) -> list[str]:
    """Return the folders with a known format, and their formats."""
    found = ((folder, recognising(folder)) for folder in folders)
    return [
        f"{folder} ({' and '.join(e.format for e in known)})" for folder, known in found if known
    ]


def _first_files(path: str) -> list[str]:
    """Return some files that may have annotations: of a folder, and of the folders in it."""
    if os.path.isfile(path):
        return [path]
    folders = [path, *(folder for _, folder in folders_in(path))]
    return [file for folder in folders for file in files_in(folder, CHECKED)[:FEW]][:FEW]


def _fault(file: str) -> str:
    """Return why a file cannot be read in any format; "" if nothing is known."""
    size, name = os.path.getsize(file), file.lower()
    if not size:
        return f"{file} is empty. "
    try:
        if name.endswith(".json") and size <= LARGEST:
            parse_json(file)
        elif name.endswith(".xml") and size <= LARGEST:
            read_xml(file)
        elif name.endswith(SUFFIXES):
            head = next((line.strip() for line in lines_of_head(file) if line.strip()), "")
            return f"{file} starts with {head!r:.120}; expected {COLUMNS}. "
    except DatasetError as error:
        return f"{str(error).rstrip('.')}. "
    return ""


def _kinds(folder: str) -> Iterator[str]:
    """Yield for each file below a folder "images", if it is an image, else its suffix."""
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
