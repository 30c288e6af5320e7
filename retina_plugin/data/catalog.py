"""Find data sets by name.

A name is a registered one, or a path, which needs no registration.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from retina_plugin.config.registry import unknown_name_message
from retina_plugin.data.box_coordinates import BoxCoordinates
from retina_plugin.data.coco import build_dataset, import_coco, read_coco
from retina_plugin.data.coco_json import HOW_TO_NAME
from retina_plugin.data.data_path import SPLIT_NAMES, DataPath, parse_data_path
from retina_plugin.data.dataset import Dataset
from retina_plugin.data.digits import digits_dataset
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.importers.imported import Imported
from retina_plugin.data.importers.read import read_path, state_of
from retina_plugin.data.importers.recognise import recognise, recognising
from retina_plugin.data.importers.voc_offset import voc_offset

logger = logging.getLogger("retina_plugin.data")

Paths = tuple[str, str]  # annotation file, image folder


class _Loaded(NamedTuple):
    """A data set, the files that it was read from, and their state at that time."""

    dataset: Dataset
    watched: tuple[str, ...]
    state: int


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
# cache: paths and settings -> data set
_LOADED: dict[tuple[str | bool, ...], _Loaded] = {}
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
    """Return annotation file and image folder of a registered name or of
    ``annotations.json@image_folder``.

    Raises:
        DatasetError: the name is neither; the message lists similar names.
    """
    paths = _paths_of(name)
    if paths is None:
        raise DatasetError(f"{unknown_name_message('data set', name, _CATALOG)} {HOW_TO_NAME}")
    return paths


def _paths_of(name: str) -> Paths | None:
    paths = _registered_paths(name)
    if paths is not None:
        return paths
    json_file, at, image_root = name.rpartition(".json@")
    if at:
        return os.path.expanduser(json_file) + ".json", os.path.expanduser(image_root) or "."
    return None


def _registered_paths(name: str) -> Paths | None:
    for paths_of in (*_HOST_CATALOGS, _own_paths):
        paths = paths_of(name)
        if paths is not None:
            return paths
    return None


def _own_paths(name: str) -> Paths | None:
    return _CATALOG[name]() if name in _CATALOG else None


def has_annotations(name: str) -> bool:
    """Return whether a data set has annotation files; False for a host's data set that a function
    makes, and for unknown names."""
    return _registered_paths(name) is not None or parse_data_path(name) is not None


def require_known(name: str, others: Iterable[str] = ()) -> None:
    """Check that a data set name is registered or a path, without reading files.

    Args:
        name: the name.
        others: names in a host's catalog, for the message.

    Raises:
        DatasetError: the name is neither; the message lists similar names.
    """
    if name in _CATALOG:  # not _registered_paths, which would render the digits
        return
    if _registered_paths(name) is None and parse_data_path(name) is None:
        known = {*_CATALOG, *others}
        raise DatasetError(f"{unknown_name_message('data set', name, known)} {HOW_TO_NAME}")


def splits_of(name: str) -> Mapping[str, str]:
    """Return the splits of a data set.

    Args:
        name: as for :func:`load_dataset`. A split in it is ignored.

    Returns:
        {split: files of the split, for messages}, where a split is "train", "val", "test" or
        another name; ``f"{path}:{split}"`` is its data set name. {"": files} without splits.

    Raises:
        DatasetError: the data set does not exist, or its format is not recognised.
    """
    require_known(name)
    paths = _paths_of(name)
    if paths is not None:
        return {"": paths[0]}
    return recognise(_data_path(name).path).splits


def names_of_splits(name: str) -> dict[str, str]:
    """Return {split: data set name} of all splits, or only of the split in ``name``, if it has one.

    Args:
        name: as for :func:`load_dataset`.

    Returns:
        The split for training is the first one, "val" and "test" are the last ones. The only key is
        "" for data sets without splits.

    Raises:
        DatasetError: see :func:`splits_of`.
    """
    splits, where = sorted(splits_of(name), key=_place_of_split), parse_data_path(name)
    if where is None or where.split or splits == [""]:
        return {(where.split if where else ""): name}
    at = f"@{where.image_folder}" if where.image_folder else ""
    return {split: f"{where.path}:{split}{at}" for split in splits}


def _place_of_split(split: str) -> int:
    return {"train": 0, "val": 2, "test": 3}.get(SPLIT_NAMES.get(split.lower(), split), 1)


def _data_path(name: str) -> DataPath:
    found = parse_data_path(name)
    if found is None:
        raise DatasetError(f"{unknown_name_message('data set', name, _CATALOG)} {HOW_TO_NAME}")
    return found


def use_box_coordinates(text: str) -> None:
    """Set the box coordinates of all annotation files that this process reads later.

    Args:
        text: the config's value, such as "xyxy fraction", see
            :class:`retina_plugin.data.box_coordinates.BoxCoordinates`; "" for COCO's.

    Raises:
        ValueError: see :meth:`retina_plugin.data.box_coordinates.BoxCoordinates.parse`.
    """
    BoxCoordinates.parse(text)
    _SETTINGS["box_coordinates"] = text


def configured_box_coordinates() -> str:
    """Return what :func:`use_box_coordinates` has set."""
    return _SETTINGS["box_coordinates"]


def import_annotations(name: str) -> Imported:
    """Read the annotations of a data set; sizes and boxes are not checked.

    Args:
        name: as for :func:`load_dataset`. Data sets of hosts without an annotation file are
            unknown.

    Raises:
        DatasetError: see :func:`load_dataset`.
    """
    paths = _coco_paths(name)
    return read_path(_data_path(name)) if paths is None else import_coco(*paths)


def load_dataset(name: str) -> Dataset:
    """Read and check a data set.

    The result is cached until the annotation files change.

    Args:
        name: a registered name, which takes precedence; ``annotations.json@image_folder``; or the
            path of a folder or annotation file of any format in
            :data:`retina_plugin.data.importers.IMPORTERS`, with ``:SPLIT`` for splits other than
            train.

    Raises:
        DatasetError: see :func:`require_known`,
            :func:`retina_plugin.data.importers.recognise.recognise` and
            :func:`retina_plugin.data.read_coco`.
    """
    for dataset_of in _HOST_DATASETS:
        dataset = dataset_of(name)
        if dataset is not None:
            return dataset
    paths = _coco_paths(name)
    where = _data_path(name) if paths is None else DataPath(paths[0], image_folder=paths[1])
    key = (
        paths is None,
        os.path.abspath(where.path),
        where.split,
        where.image_folder and os.path.abspath(where.image_folder),
        _SETTINGS["box_coordinates"],
        voc_offset(),
    )
    found = _LOADED.get(key)
    if found is None or found.state != state_of(*found.watched):
        found = _LOADED[key] = _read(where, is_coco=paths is not None)
    return dataclasses.replace(found.dataset, name=name)


def _coco_paths(name: str) -> Paths | None:
    """Return annotation file and image folder of a data set in COCO format; None for a path that an
    importer reads."""
    paths = _paths_of(name)
    if paths is None or _registered_paths(name) is not None:
        return paths
    formats = {found.format for found in recognising(paths[0])} if os.path.isfile(paths[0]) else ()
    return None if formats and "COCO" not in formats else paths


def _read(where: DataPath, *, is_coco: bool) -> _Loaded:
    coordinates = _SETTINGS["box_coordinates"]
    if is_coco:
        state = state_of(where.path)
        dataset = read_coco(where.path, where.image_folder, box_coordinates=coordinates)
        return _Loaded(dataset, (where.path,), state)
    imported = read_path(where)
    watched = imported.watched or (imported.source,)
    state = state_of(*watched)
    dataset = build_dataset(imported, box_coordinates=coordinates)
    logger.info("%s", _format_line(dataset))
    return _Loaded(dataset, watched, state)


def format_lines(names: Iterable[str]) -> list[str]:
    """Return a line with the format and size of each data set whose format was recognised.

    Args:
        names: names of data sets. Registered ones and ``annotations.json@image_folder`` get no
            line.
    """
    paths = [name for name in dict.fromkeys(names) if parse_data_path(name) is not None]
    datasets = [load_dataset(name) for name in paths]
    return [_format_line(dataset) for dataset in datasets if dataset.format != "COCO"]


def _format_line(dataset: Dataset) -> str:
    boxes = sum(len(record["annotations"]) for record in dataset.records)
    return (
        f"{dataset.name}: read as {dataset.format}: {len(dataset.records)} images, {boxes} boxes, "
        f"{dataset.num_classes} classes"
    )
