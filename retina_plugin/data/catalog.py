"""Data sets by name: registered ones, and ``annotations.json@image_folder`` without any
registration."""

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


def _below_datasets(json_file: str, image_root: str) -> Callable[[], Paths]:
    # the variable is read when the data set is used, as a test or a notebook may set it late
    def paths() -> Paths:
        root = os.path.expanduser(os.environ.get("DETECTRON2_DATASETS", "datasets"))
        return os.path.join(root, json_file), os.path.join(root, image_root)

    return paths


_CATALOG: dict[str, Callable[[], Paths]] = {
    "bccd_train": _below_datasets("bccd/annotations/train.json", "bccd/images"),
    "bccd_val": _below_datasets("bccd/annotations/val.json", "bccd/images"),
    "cards_train": _below_datasets("cards/annotations/train.json", "cards/images"),
    "cards_val": _below_datasets("cards/annotations/val.json", "cards/images"),
    "coco_2017_train": _below_datasets(
        "coco/annotations/instances_train2017.json", "coco/train2017"
    ),
    "coco_2017_val": _below_datasets("coco/annotations/instances_val2017.json", "coco/val2017"),
    "coco_2017_val_100": _below_datasets(
        "coco/annotations/instances_val2017_100.json", "coco/val2017"
    ),
    "digits_longtail_train": lambda: digits_dataset("train", imbalance=100),
    "digits_train": lambda: digits_dataset("train"),
    "digits_test": lambda: digits_dataset("test"),
}
# catalogs of hosts; what they know goes before what is above
_HOST_CATALOGS: list[Callable[[str], Paths | None]] = []
# of data sets of hosts that have no annotation file
_HOST_DATASETS: list[Callable[[str], Dataset | None]] = []
_LOADED: dict[tuple[str, str, str, tuple[int, int]], Dataset] = {}
_READ_AS = {"box_coordinates": ""}  # how this process reads annotation files


def dataset_names() -> list[str]:
    """All registered names."""
    return list(_CATALOG)


def register_dataset(name: str, json_file: str, image_root: str) -> None:
    """Give a data set in COCO's layout a name; nothing is read yet.

    Args:
        name: registering it again with the same paths is harmless.
        json_file: annotations.
        image_root: folder of the images.

    Raises:
        DatasetError: the name belongs to another data set.
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
    """Let a host's own catalog find data sets too.

    Args:
        paths_of: name -> annotation file and image folder, or None for a name that it does not
            know.
        dataset_of: name -> the data set, or None unless it is one that has no annotation file.
    """
    _HOST_CATALOGS.append(paths_of)
    _HOST_DATASETS.append(dataset_of)


def resolve(name: str) -> Paths:
    """Annotation file and image folder of a registered name or of
    ``annotations.json@image_folder``.

    Raises:
        DatasetError: neither; the nearest names are listed.
    """
    for paths_of in (*_HOST_CATALOGS, _own_paths):
        paths = paths_of(name)
        if paths is not None:
            return paths
    json_file, at, image_root = name.rpartition(".json@")
    if at:
        return os.path.expanduser(json_file) + ".json", os.path.expanduser(image_root) or "."
    raise DatasetError(f"{unknown_name_message('data set', name, _CATALOG)} {HOW_TO_NAME}")


def _own_paths(name: str) -> Paths | None:
    return _CATALOG[name]() if name in _CATALOG else None


def use_box_coordinates(text: str) -> None:
    """Read the boxes of all annotation files of this process in these coordinates; hosts and tools
    call it with the config's.

    Args:
        text: such as "xyxy fraction", see
            :class:`retina_plugin.data.box_coordinates.BoxCoordinates`; "" for COCO's.

    Raises:
        ValueError: an unknown word.
    """
    BoxCoordinates.parse(text)
    _READ_AS["box_coordinates"] = text


def load_dataset(name: str) -> Dataset:
    """Read and check a data set; once for each state of its file.

    Raises:
        DatasetError: see :func:`resolve` and :func:`retina_plugin.data.read_coco`.
    """
    for dataset_of in _HOST_DATASETS:
        dataset = dataset_of(name)
        if dataset is not None:
            return dataset
    json_file, image_root = resolve(name)
    coordinates = _READ_AS["box_coordinates"]
    key = (os.path.abspath(json_file), os.path.abspath(image_root), coordinates, _state(json_file))
    if key not in _LOADED:
        _LOADED[key] = read_coco(json_file, image_root, name=name, box_coordinates=coordinates)
    return dataclasses.replace(_LOADED[key], name=name)


def _state(path: str) -> tuple[int, int]:
    """Time of the last change and size of a file; zeros where there is none."""
    if not os.path.exists(path):
        return 0, 0
    found = os.stat(path)
    return found.st_mtime_ns, found.st_size
