"""Find the images and label files of a data set in YOLO format."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from retina_plugin.data.data_path import SPLIT_NAMES
from retina_plugin.data.entry_errors import reading_entry
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.importers.annotation_files import folders_in
from retina_plugin.data.importers.image_files import ImageFolder, is_visible_image
from retina_plugin.data.importers.run_folders import walk_data
from retina_plugin.data.importers.text_file import lines_of_head, read_text
from retina_plugin.data.importers.yolo_rows import is_row
from retina_plugin.data.importers.yolo_yaml import DataYaml, find_listed, is_data_yaml

NAME_FILES = ("classes.txt", "obj.names", "classes.names", "_darknet.labels")
YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml", "obj.data")
LABELS_OF = {"images": "labels", "Images": "Labels", "IMAGES": "LABELS"}
NUMBERED = re.compile(r"([a-z]+)[-_ ]?\d*")  # names of splits such as train, train2017 and val_1
MOST_FOLDERS = 200  # number of folders with images that are inspected
SAMPLE = 100  # approximate number of images of a folder whose label files are inspected


def find_yaml(path: str) -> str | None:
    """Return the data.yaml in a folder, or ``path`` if it is a data.yaml; else None.

    Raises:
        DatasetError: the folder has several such files, and not exactly one has a usual name.
    """
    if os.path.isfile(path):
        return path if is_data_yaml(path) else None
    files = [os.path.join(path, name) for name in sorted(os.listdir(path))]
    found = [file for file in files if is_data_yaml(file)]
    usual = [file for file in found if os.path.basename(file).lower() in YAML_NAMES]
    if len(found) > 1 and len(usual) != 1:
        raise DatasetError(
            f"{path} has {len(found)} files that define the splits of a YOLO data set: "
            f"{', '.join(map(os.path.basename, found))}. Use the path of one of them."
        )
    return next(iter(usual or found), None)


def find_folders(path: str) -> dict[str, list[str]]:
    """Return {split: image folders} of a data set without data.yaml; empty if it is not YOLO.

    The known layouts are images/SPLIT with labels/SPLIT, SPLIT/images with SPLIT/labels, SPLIT with
    a label file beside each image, and the same without SPLIT. Images may be in subfolders of
    these folders.
    """
    if not os.path.isdir(path):
        return {}
    images = _images_in(path)
    for base, inside in ((images, str), (path, _images_in), (path, str)):
        found: dict[str, list[str]] = {}
        for split, folder in _split_folders(base):
            if _has_labels_below(inside(folder)):
                found.setdefault(split, []).append(inside(folder))
        if found:
            return found
    if _has_labels_below(images):
        return {"": [images]}
    if _has_labels(path):
        return {"": [path]}
    # a folder with a folder "labels" of its own is a data set of its own
    nested = islice(_image_folders(path), MOST_FOLDERS)
    beside = any(_has_rows(folder, _labels_beside(folder)) for folder in nested)
    return {"": list(_image_folders(path))} if beside else {}


def _images_in(folder: str) -> str:
    """Return the folder "images" in a folder, in upper or lower case; it need not exist."""
    known = dict(folders_in(folder)) if os.path.isdir(folder) else {}
    return known.get("images", os.path.join(folder, "images"))


def _split_folders(base: str) -> Iterator[tuple[str, str]]:
    if os.path.isdir(base):
        for name, folder in folders_in(base):
            word = NUMBERED.fullmatch(name)
            if word and word[1] in SPLIT_NAMES:
                yield SPLIT_NAMES[word[1]], folder


def _has_labels_below(folder: str) -> bool:
    return any(map(_has_labels, islice(_image_folders(folder), MOST_FOLDERS)))


def _image_folders(folder: str) -> Iterator[str]:
    """Yield the folder and the folders below it that have images."""
    for base, files in walk_data(folder):
        if any(map(is_visible_image, files)):
            yield base


def _has_labels(folder: str) -> bool:
    return os.path.isdir(folder) and _has_rows(folder, map(label_file, _sample(folder)))


def _labels_beside(folder: str) -> Iterator[str | None]:
    return (_text_file(os.path.splitext(image)[0]) for image in _sample(folder))


def _sample(folder: str) -> list[str]:
    """Return some images of a folder."""
    names = sorted(filter(is_visible_image, os.listdir(folder)))
    return [os.path.join(folder, name) for name in names[:: max(1, len(names) // SAMPLE)]]


def _has_rows(folder: str, labels: Iterable[str | None]) -> bool:
    """Return whether the first label file that is not empty starts with a YOLO row; if all are
    empty, whether there is a file of class names."""
    found = 0
    for label in labels:
        if label is None:
            continue
        found += 1
        lines = [line for line in lines_of_head(label) if line.strip()]
        if lines:
            return is_row(lines[0])
    return found > 0 and bool(name_files(folder, os.path.dirname(os.path.abspath(folder))))


def name_files(*folders: str) -> list[str]:
    """Return the files of class names in folders and in their label folders, one a folder."""
    bases = dict.fromkeys(base for folder in folders for base in (folder, *_label_folders(folder)))
    names = (*NAME_FILES, *map(str.upper, NAME_FILES))
    found = [
        next((path for name in names if os.path.isfile(path := os.path.join(base, name))), "")
        for base in bases
    ]
    return list(filter(None, found))


def list_images(entries: Sequence[str], data: DataYaml) -> list[str]:
    """Return the images of a split, without duplicates.

    Args:
        entries: folders, lists of images (.txt), or images.
        data: the data.yaml of the entries.

    Raises:
        DatasetError: an entry does not exist, or there is no image.
    """
    found: list[str] = []
    for entry in entries:
        with reading_entry(data.file):
            found += _images_of(resolve_entry(entry, data), data)
    if not found:
        raise DatasetError(f"{data.file}: no images in {', '.join(entries)}")
    return list(dict.fromkeys(os.path.normpath(path) for path in found))


def _images_of(path: str, data: DataYaml) -> list[str]:
    """Return the images of a folder, a list of images, or an image."""
    if os.path.isdir(path):
        return [os.path.join(path, name) for name in ImageFolder(path).names]
    return list(_listed_images(path, data)) if path.lower().endswith(".txt") else [path]


def resolve_entry(entry: str, data: DataYaml) -> str:
    """Return the path of a folder or file in a data.yaml.

    Raises:
        DatasetError: the path does not exist, or starts with "../" and exists in both readings, as
            it is and as Roboflow means it.
    """
    path = find_entry(entry, data)
    inside = re.sub(r"^(\.\.[/\\])+", "", entry.strip())
    other = find_entry(inside, data) if inside != entry.strip() else None
    if path is not None and other is not None and not os.path.samefile(path, other):
        raise DatasetError(
            f"{data.file} names {entry}, and both {path} and {other} exist. Write the one to use "
            "without ../, or as an absolute path."
        )
    if path is None:
        folder = os.path.dirname(data.file) or "."
        where = " and ".join(dict.fromkeys((os.path.abspath(data.root), os.path.abspath(folder))))
        raise DatasetError(
            f"{data.file} names {entry}, which is not below {where}. Correct the path, or put "
            "the images there."
        )
    return path


def find_entry(entry: str, data: DataYaml) -> str | None:
    """Return the path of a folder or file in a data.yaml; None if it does not exist."""
    return find_listed(entry, data.root, os.path.dirname(data.file) or ".")


def _listed_images(file: str, data: DataYaml) -> Iterator[str]:
    folder = os.path.dirname(file)
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        if line.strip():
            path = find_listed(line, folder, data.root, os.path.dirname(data.file))
            if path is not None:
                yield path
                continue
            with reading_entry(f"{file}, line {number}"):
                raise DatasetError(
                    f"{file}, line {number}: no image {line.strip()!r:.200} below {folder or '.'}"
                )


def label_file(image: str) -> str | None:
    """Return the label file of an image, or None. It is searched for in the image's folder with the
    last part "images" replaced by "labels", beside the image, and in "labels" beside the image."""
    folder, name = os.path.split(image)
    stem = os.path.splitext(name)[0]
    for base in dict.fromkeys((labels_folder(folder), folder, *_label_folders(folder))):
        path = _text_file(os.path.join(base, stem))
        if path is not None:
            return path
    return None


def _text_file(stem: str) -> str | None:
    return next((path for end in (".txt", ".TXT") if os.path.isfile(path := stem + end)), None)


def _label_folders(folder: str) -> list[str]:
    """Return the folders that may have the labels of a folder of images, beside the folder itself:
    "labels" or "Labels" for "Images"."""
    lower = labels_folder(folder, dict.fromkeys(LABELS_OF, "labels"))
    return [labels_folder(folder), lower, os.path.join(folder, "labels")]


def labels_folder(folder: str, labels_of: Mapping[str, str] = LABELS_OF) -> str:
    """Return the folder of the labels of a folder of images: with its last part "images" (or
    "Images", "IMAGES") replaced as in ``labels_of``, if it has such a part."""
    parts = folder.split(os.sep)
    for place in range(len(parts) - 1, -1, -1):
        if parts[place] in labels_of:
            return os.sep.join([*parts[:place], labels_of[parts[place]], *parts[place + 1 :]])
    return folder
