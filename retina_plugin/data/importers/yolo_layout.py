"""Find the images and label files of a data set in YOLO format."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from retina_plugin.data.data_path import SPLIT_NAMES
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.importers.image_files import ImageFolder, is_image
from retina_plugin.data.importers.text_file import lines_of_head, read_text
from retina_plugin.data.importers.yolo_rows import is_row
from retina_plugin.data.importers.yolo_yaml import DataYaml, find_listed, is_data_yaml

NAME_FILES = ("classes.txt", "obj.names", "classes.names", "_darknet.labels")
YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml", "obj.data")
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
    a label file beside each image, and the same without SPLIT.
    """
    if not os.path.isdir(path):
        return {}
    images = os.path.join(path, "images")
    for base, below in ((images, ""), (path, "images"), (path, "")):
        found: dict[str, list[str]] = {}
        for split, folder in _split_folders(base):
            if _has_labels(os.path.join(folder, below)):
                found.setdefault(split, []).append(os.path.join(folder, below))
        if found:
            return found
    return next(({"": [folder]} for folder in (images, path) if _has_labels(folder)), {})


def _split_folders(base: str) -> Iterator[tuple[str, str]]:
    if os.path.isdir(base):
        for name in sorted(os.listdir(base)):
            folder = os.path.join(base, name)
            if name.lower() in SPLIT_NAMES and os.path.isdir(folder):
                yield SPLIT_NAMES[name.lower()], folder


def _has_labels(folder: str) -> bool:
    """Return whether the first non-empty label file of some images starts with a YOLO row; if all
    are empty, whether there is a file of class names."""
    if not os.path.isdir(folder):
        return False
    entries = sorted(name for name in os.listdir(folder) if is_image(name))
    found = 0
    for name in entries[:: max(1, len(entries) // SAMPLE)]:
        label = label_file(os.path.join(folder, name))
        if label is None:
            continue
        found += 1
        lines = [line for line in lines_of_head(label) if line.strip()]
        if lines:
            return is_row(lines[0])
    return found > 0 and name_file(folder) is not None


def name_file(folder: str, *more: str) -> str | None:
    """Return the first file of class names in folders and their label folders, or None."""
    for place in (folder, *more):
        for base in dict.fromkeys((place, _labels_of(place), os.path.join(place, "labels"))):
            for name in NAME_FILES:
                path = os.path.join(base, name)
                if os.path.isfile(path):
                    return path
    return None


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
        path = resolve_entry(entry, data)
        if os.path.isdir(path):
            found += [os.path.join(path, name) for name in ImageFolder(path).names]
        elif path.lower().endswith(".txt"):
            found += _listed_images(path, data)
        else:
            found.append(path)
    if not found:
        raise DatasetError(f"{data.file}: no images in {', '.join(entries)}")
    return list(dict.fromkeys(os.path.normpath(path) for path in found))


def resolve_entry(entry: str, data: DataYaml) -> str:
    """Return the path of a folder or file in a data.yaml.

    Raises:
        DatasetError: the path does not exist.
    """
    folder = os.path.dirname(data.file) or "."
    path = find_listed(entry, data.root, folder)
    if path is None:
        where = " and ".join(dict.fromkeys((os.path.abspath(data.root), os.path.abspath(folder))))
        raise DatasetError(
            f"{data.file} names {entry}, which is not below {where}. Correct the path, or put "
            "the images there."
        )
    return path


def _listed_images(file: str, data: DataYaml) -> Iterator[str]:
    folder = os.path.dirname(file)
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        if line.strip():
            path = find_listed(line, folder, data.root, os.path.dirname(data.file))
            if path is None:
                raise DatasetError(
                    f"{file}, line {number}: no image {line.strip()!r:.200} below {folder or '.'}"
                )
            yield path


def label_file(image: str) -> str | None:
    """Return the label file of an image, or None. It is searched for in the image's folder with the
    last part "images" replaced by "labels", beside the image, and in "labels" beside the image."""
    folder, name = os.path.split(image)
    label = f"{os.path.splitext(name)[0]}.txt"
    for base in dict.fromkeys((_labels_of(folder), folder, os.path.join(folder, "labels"))):
        path = os.path.join(base, label)
        if os.path.isfile(path):
            return path
    return None


def _labels_of(folder: str) -> str:
    """Replace the last part "images" of a path by "labels", if it has such a part."""
    parts = folder.split(os.sep)
    for place in range(len(parts) - 1, -1, -1):
        if parts[place].lower() == "images":
            return os.sep.join([*parts[:place], "labels", *parts[place + 1 :]])
    return folder
