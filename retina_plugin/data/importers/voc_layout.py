"""Where Pascal VOC keeps XML files, images and lists of splits."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import PureWindowsPath

from retina_plugin.data.data_path import SPLIT_NAMES
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.importers.annotation_files import FOLDERS, files_in
from retina_plugin.data.importers.image_files import ImageFolder
from retina_plugin.data.importers.text_file import head_of, read_text

ROOT_TAG = re.compile(r"<annotation[\s>]")
IMAGE_FOLDERS = ("JPEGImages", "images", "Images")
LISTS = os.path.join("ImageSets", "Main")
SAMPLE = 5  # XML files whose start is looked at


@dataclass(frozen=True)
class VocLayout:
    """Where the files of a data set are.

    Attributes:
        root: the folder or file that the user named.
        images: the folder of all images.
        splits: split -> the list or folder that says so, for messages, and the XML files.
        has_lists: whether files in ImageSets/Main choose the images.
    """

    root: str
    images: str
    splits: dict[str, tuple[str, list[str]]]
    has_lists: bool = False


def find_layout(path: str) -> VocLayout | None:
    """Find XML files of Pascal VOC; None if there are none.

    Args:
        path: an XML file; a folder with the folder Annotations, and ImageSets/Main if it has
            splits; a folder with XML files; or a folder with such folders called as splits are.

    Raises:
        DatasetError: a list of a split has an image without XML file.
    """
    if os.path.isfile(path):
        folder = os.path.dirname(path)
        return VocLayout(path, _images_of(folder), {"": (path, [path])}) if _is_voc(path) else None
    for folder in (*_named(path, FOLDERS), path):
        files = _xml_files(folder)
        if files:
            images = path if folder != path else _images_of(path)
            lists = _splits_by_list(path, folder)
            known = [name for name in IMAGE_FOLDERS if os.path.isdir(os.path.join(path, name))]
            images = os.path.join(path, known[0]) if known else images
            return VocLayout(path, images, lists or {"": (folder, files)}, bool(lists))
    splits = {
        SPLIT_NAMES[os.path.basename(folder).lower()]: (folder, files)
        for folder in _named(path, SPLIT_NAMES)
        if (files := [f for place in (*_named(folder, FOLDERS), folder) for f in _xml_files(place)])
    }
    return VocLayout(path, path, splits) if splits else None


def _named(path: str, names: Container[str]) -> Iterator[str]:
    """Folders directly in a folder whose names in lower case are among some."""
    with os.scandir(path) as entries:
        found = sorted(entry.path for entry in entries if entry.is_dir())
    yield from (folder for folder in found if os.path.basename(folder).lower() in names)


def _xml_files(folder: str) -> list[str]:
    """The XML files of a folder if the first ones are of Pascal VOC."""
    files = files_in(folder, (".xml",))
    return files if files and all(map(_is_voc, files[:SAMPLE])) else []


def _is_voc(path: str) -> bool:
    return path.lower().endswith(".xml") and ROOT_TAG.search(head_of(path)[:4096]) is not None


def _images_of(folder: str) -> str:
    """The folder of images for a folder of XML files that the user named itself."""
    here = os.path.abspath(folder)
    above = os.path.dirname(here)
    if os.path.basename(here).lower() not in FOLDERS:
        return folder or "."
    for name in IMAGE_FOLDERS:
        if os.path.isdir(os.path.join(above, name)):
            return os.path.join(above, name)
    return above


def _splits_by_list(path: str, folder: str) -> dict[str, tuple[str, list[str]]]:
    """Split -> list and XML files; lists such as aeroplane_train.txt are of one class and left
    out."""
    found = {}
    base = os.path.join(path, LISTS)
    for file in files_in(base, (".txt",)) if os.path.isdir(base) else ():
        stem = os.path.splitext(os.path.basename(file))[0]
        if stem.lower() in (*SPLIT_NAMES, "trainval"):
            files = list(_listed(file, folder))
            found[SPLIT_NAMES.get(stem.lower(), stem.lower())] = (file, files)
    return found


def _listed(file: str, folder: str) -> Iterator[str]:
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        name = line.strip()
        if name:
            spellings = (f"{name}.xml", f"{name.split()[0]}.xml")
            paths = [os.path.join(folder, spelling) for spelling in spellings]
            existing = next((path for path in paths if os.path.isfile(path)), None)
            if existing is None:
                raise DatasetError(
                    f"{file}, line {number}: no XML file {paths[0]}. Add it, or remove the line"
                )
            yield existing


def image_of(file: str, written: str, images: ImageFolder) -> tuple[str, bool]:
    """The image of an XML file: the one of its own name, beside it if there are several.

    Args:
        file: the XML file.
        written: its ``<filename>``, which may lack the suffix, or name another image after files
            were renamed or copied. It is used if there is no image of the file's own name.
        images: all images.

    Returns:
        A path relative to the folder of the images, and whether it is the one that was written.
    """
    folder, name = os.path.split(file)
    stem, base = os.path.splitext(name)[0], PureWindowsPath(written).name
    own = images.of_name(stem)
    beside = [name for name in own if _same_folder(os.path.join(images.folder, name), folder)]
    named = [name for name in beside or own if os.path.basename(name) == base]
    found = named or beside or own
    if len(found) == 1:
        image = os.path.basename(found[0])
        return found[0], base in ("", image, os.path.splitext(image)[0])
    return images.find(written) or written or stem, True


def _same_folder(path: str, folder: str) -> bool:
    return os.path.abspath(os.path.dirname(path)) == os.path.abspath(folder)
