"""Find data sets by name.

A name is a registered one, or ``annotations.json@image_folder``, which needs no registration.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

from retina_plugin.config.registry import unknown_name_message
from retina_plugin.data.box_coordinates import BoxCoordinates
from retina_plugin.data.coco import Dataset, read_coco
from retina_plugin.data.coco_json import HOW_TO_NAME
from retina_plugin.data.digits import digits_dataset
from retina_plugin.data.errors import DatasetError

Paths = tuple[str, str]  # annotation file, image folder


def _in_datasets_folder(json_file: str, image_root: str) -> Callable[[], Paths]:
    # read the variable when the data set is used: a notebook may set it after the import
    def paths() -> Paths:
        root = os.path.expanduser(os.environ.get("DETECTRON2_DATASETS", "datasets"))
        return os.path.join(root, json_file), os.path.join(root, image_root)

    return paths


_CATALOG: dict[str, Callable[[], Paths]] = {
    "bccd_train": _in_datasets_folder("bccd/annotations/train.json", "bccd/images"),
    "bccd_val": _in_datasets_folder("bccd/annotations/val.json", "bccd/images"),
    "cards_train": _in_datasets_folder("cards/annotations/train.json", "cards/images"),
    "cards_val": _in_datasets_folder("cards/annotations/val.json", "cards/images"),
    "coco_2017_train": _in_datasets_folder(
        "coco/annotations/instances_train2017.json", "coco/train2017"
    ),
    "coco_2017_val": _in_datasets_folder("coco/annotations/instances_val2017.json", "coco/val2017"),
    "coco_2017_val_100": _in_datasets_folder(
        "coco/annotations/instances_val2017_100.json", "coco/val2017"
    ),
    "digits_longtail_train": lambda: digits_dataset("train", imbalance=100),
    "digits_train": lambda: digits_dataset("train"),
    "digits_test": lambda: digits_dataset("test"),
}
# catalogs of hosts, name -> paths; they are searched before _CATALOG
_HOST_CATALOGS: list[Callable[[str], Paths | None]] = []
# name -> a host's data set that has no annotation file
_HOST_DATASETS: list[Callable[[str], Dataset | None]] = []
_LOADED: dict[tuple[str, str, str, tuple[int, int]], Dataset] = {}
_SETTINGS = {"box_coordinates": ""}  # set by use_box_coordinates


def dataset_names() -> list[str]:
    """Return all registered names."""
    return list(_CATALOG)


def register_dataset(name: str, json_file: str, image_root: str) -> None:
    """Register a data set in COCO's format under a name; no file is read yet.

    Args:
        name: it may be registered again with the same paths.
        json_file: the annotation file.
        image_root: the image folder.

    Raises:
        DatasetError: the name is registered with other paths.
    """
    paths = os.path.expanduser(json_file), os.path.expanduser(image_root)
    if name in _CATALOG and _CATALOG[name]() != paths:
        raise DatasetError(
            f"data set name {name!r} is taken by {_CATALOG[name]()[0]}; choose another"
        )
    _CATALOG[name] = lambda: paths


def add_catalog(
    paths_of: Callable[[str], Paths | None], dataset_of: Callable[[str], Dataset | None]
) -> None:
    """Add the catalog of a host, such as Detectron2's.

    Args:
        paths_of: returns the annotation file and image folder of a name, or None if the host has no
            such data set.
        dataset_of: returns the data set of a name if it has no annotation file, else None.
    """
    _HOST_CATALOGS.append(paths_of)
    _HOST_DATASETS.append(dataset_of)


def resolve(name: str) -> Paths:
    """Return the annotation file and image folder of a registered name or of
    ``annotations.json@image_folder``.

    Raises:
        DatasetError: the name is neither of them; the message lists similar names.
    """
    for paths_of in (*_HOST_CATALOGS, _registered_paths):
        paths = paths_of(name)
        if paths is not None:
            return paths
    json_file, at, image_root = name.rpartition(".json@")
    if at:
        return os.path.expanduser(json_file) + ".json", os.path.expanduser(image_root) or "."
    raise DatasetError(f"{unknown_name_message('data set', name, _CATALOG)} {HOW_TO_NAME}")


def _registered_paths(name: str) -> Paths | None:
    return _CATALOG[name]() if name in _CATALOG else None


def use_box_coordinates(text: str) -> None:
    """Set the box coordinates in which this process reads annotation files.

    Hosts and tools call it with the config's value.

    Args:
        text: such as "xyxy fraction", see
            :class:`retina_plugin.data.box_coordinates.BoxCoordinates`; "" for COCO's.

    Raises:
        ValueError: see :meth:`retina_plugin.data.box_coordinates.BoxCoordinates.parse`.
    """
    BoxCoordinates.parse(text)
    _SETTINGS["box_coordinates"] = text


def load_dataset(name: str) -> Dataset:
    """Read and check a data set.

    The result is cached until the annotation file changes.

    Raises:
        DatasetError: see :func:`resolve` and :func:`retina_plugin.data.read_coco`.
    """
    for dataset_of in _HOST_DATASETS:
        dataset = dataset_of(name)
        if dataset is not None:
            return dataset
    json_file, image_root = resolve(name)
    coordinates = _SETTINGS["box_coordinates"]
    key = (
        os.path.abspath(json_file),
        os.path.abspath(image_root),
        coordinates,
        _file_state(json_file),
    )
    if key not in _LOADED:
        _LOADED[key] = read_coco(json_file, image_root, name=name, box_coordinates=coordinates)
    return dataclasses.replace(_LOADED[key], name=name)


def _file_state(path: str) -> tuple[int, int]:
    """Return modification time and size of a file, or zeros if it does not exist."""
    if not os.path.exists(path):
        return 0, 0
    found = os.stat(path)
    return found.st_mtime_ns, found.st_size
