"""Find the XML files, images and lists of splits of a data set in Pascal VOC's format."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import PureWindowsPath

from retina_plugin.data.data_path import SPLIT_NAMES
from retina_plugin.data.entry_errors import reading_entry
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.importers.annotation_files import (
    FOLDERS,
    files_in,
    folders_in,
    only_folder,
)
from retina_plugin.data.importers.image_files import ImageFolder, is_image, is_visible_image
from retina_plugin.data.importers.text_file import head_of, lines_of_head, read_text

ROOT_TAG = re.compile(r"<annotation[\s>]")
IMAGE_FOLDERS = ("JPEGImages", "images", "Images")
LISTS = os.path.join("ImageSets", "Main")
SAMPLE = 5  # number of XML files that are inspected


@dataclass(frozen=True)
class VocLayout:
    """The files of a data set.

    Attributes:
        root: the folder or file that the user gave.
        images: the folder of all images.
        splits: {split: (list file or folder, for messages; XML files)}.
        has_lists: whether the splits are lists in ImageSets/Main.
    """

    root: str
    images: str
    splits: dict[str, tuple[str, list[str]]]
    has_lists: bool = False


def find_layout(path: str) -> VocLayout | None:
    """Find the XML files of a data set; return None if it is not Pascal VOC.

    Args:
        path: an XML file; a folder of XML files; a folder with the folder Annotations, and
            ImageSets/Main if there are splits; a folder with folders named like splits, also inside
            Annotations; or a folder in which only one folder has XML files.

    Raises:
        DatasetError: the list of a split has an image without XML file.
    """
    if os.path.isfile(path):
        folder = os.path.dirname(path)
        return VocLayout(path, _images_of(folder), {"": (path, [path])}) if _is_voc(path) else None
    for folder in (*_named(path, FOLDERS), path):
        if _xml_files(folder):
            return _layout_of(path, folder)
    for parent in (path, *_named(path, FOLDERS)):
        splits = {
            SPLIT_NAMES[os.path.basename(folder).lower()]: (folder, files)
            for folder in _named(parent, SPLIT_NAMES)
            if (files := _xml_files_below(folder))
        }
        if splits:
            return VocLayout(path, path, splits)
    only = only_folder(path, lambda folder: bool(_xml_files(folder)))
    if only is None:
        return None
    return find_layout(only) if ImageFolder(only).names else _layout_of(path, only)


def _layout_of(path: str, folder: str) -> VocLayout:
    """Return the layout of a data set ``path`` with all XML files in ``folder``."""
    lists = _splits_by_list(path, folder)
    known = [name for name in IMAGE_FOLDERS if os.path.isdir(os.path.join(path, name))]
    images = path if folder != path else _images_of(path)
    return VocLayout(
        path,
        os.path.join(path, known[0]) if known else images,
        lists or {"": (folder, _xml_files(folder))},
        bool(lists),
    )


def _named(path: str, names: Container[str]) -> Iterator[str]:
    """Yield the subfolders whose names in lower case are in ``names``."""
    yield from (folder for name, folder in folders_in(path) if name in names)


def _xml_files(folder: str) -> list[str]:
    """Return the XML files of a folder; none if none of the first ones is Pascal VOC."""
    files = files_in(folder, (".xml",))
    return files if any(map(_is_voc, files[:SAMPLE])) else []


def _xml_files_below(folder: str) -> list[str]:
    """Return the XML files of a split: in its folders of annotations and in the folder itself, or
    else in the only folder that has some."""
    places = (*_named(folder, FOLDERS), folder)
    files = [file for place in places for file in _xml_files(place)]
    only = None if files else only_folder(folder, lambda place: bool(_xml_files(place)))
    return files if only is None else _xml_files(only)


def _is_voc(path: str) -> bool:
    return path.lower().endswith(".xml") and ROOT_TAG.search(head_of(path)[:4096]) is not None


def _images_of(folder: str) -> str:
    """Return the image folder for a folder of XML files."""
    here = os.path.abspath(folder)
    above = os.path.dirname(here)
    is_named = os.path.basename(here).lower() in FOLDERS
    if not is_named and ImageFolder(folder or ".").names:
        return folder or "."
    for name in IMAGE_FOLDERS:
        if os.path.isdir(os.path.join(above, name)):
            return os.path.join(above, name)
    return above if is_named else only_folder(above, _has_images) or folder or "."


def _has_images(folder: str) -> bool:
    if not os.access(folder, os.R_OK | os.X_OK):  # of another user
        return False
    with os.scandir(folder) as entries:
        return any(is_visible_image(entry.name) for entry in entries)


def _splits_by_list(path: str, folder: str) -> dict[str, tuple[str, list[str]]]:
    """Return {split: (list file, XML files)}.

    Lists with other names than train, val, test and trainval are splits if there are several lists
    of images. Lists of one class, such as aeroplane_train.txt, have a number after each image and
    are ignored.
    """
    base = os.path.join(path, LISTS)
    files = files_in(base, (".txt",)) if os.path.isdir(base) else []
    lists = {os.path.splitext(os.path.basename(file))[0]: file for file in files}
    known = {**SPLIT_NAMES, "trainval": "trainval"}
    usual = [name for name in lists if name.lower() in known]
    others = [name for name in lists if name not in usual and _is_list(lists[name], folder)]
    return {
        known.get(name.lower(), name): (lists[name], list(_listed(lists[name], folder)))
        for name in (usual if len(usual) + len(others) == 1 else [*usual, *others])
    }


def _is_list(file: str, folder: str) -> bool:
    """Return whether each line of a file is the name of an XML file without suffix."""
    names = [line.strip() for line in lines_of_head(file) if line.strip()]
    return bool(names) and all(os.path.isfile(os.path.join(folder, f"{n}.xml")) for n in names)


def _listed(file: str, folder: str) -> Iterator[str]:
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        name = line.strip()
        if name:
            stem = os.path.splitext(name)[0] if is_image(name) else name
            spellings = (f"{name}.xml", f"{name.split()[0]}.xml", f"{stem}.xml")
            paths = [os.path.join(folder, spelling) for spelling in spellings]
            existing = next((path for path in paths if os.path.isfile(path)), None)
            if existing is not None:
                yield existing
                continue
            with reading_entry(f"{file}, line {number}"):
                raise DatasetError(
                    f"{file}, line {number}: no XML file {paths[0]}. Add it, or remove the line"
                )


def image_of(file: str, written: str, images: ImageFolder) -> tuple[str, bool]:
    """Return the image of an XML file. It has the name of the XML file; if there are several such
    images, the one in the same folder, or in a folder of the same split, or the one whose name is
    ``written``, is used.

    Args:
        file: the XML file.
        written: its ``<filename>``, which may lack the suffix, or be wrong after files were renamed
            or copied. It decides if no single image has the name of the XML file.
        images: all images.

    Returns:
        A path relative to the folder of the images, and whether it agrees with ``written``.
    """
    folder, name = os.path.split(file)
    stem, base = os.path.splitext(name)[0], PureWindowsPath(written).name
    same_stem = images.of_name(stem)
    paths = {name: os.path.join(images.folder, name) for name in same_stem}
    beside = [name for name in same_stem if _same_folder(paths[name], folder)]
    beside = beside or [name for name in same_stem if _same_split(paths[name], folder)]
    named = [name for name in beside or same_stem if os.path.basename(name) == base]
    found = named or beside or same_stem
    if len(found) == 1:
        image = os.path.basename(found[0])
        return found[0], base in ("", image, os.path.splitext(image)[0])
    return images.find(written) or written or stem, True


def _same_split(path: str, folder: str) -> bool:
    """Return whether the folder of an image is called like a split's folder of XML files."""
    name = os.path.basename(folder).lower()
    return name in SPLIT_NAMES and os.path.basename(os.path.dirname(path)).lower() == name


def _same_folder(path: str, folder: str) -> bool:
    return os.path.abspath(os.path.dirname(path)) == os.path.abspath(folder)
