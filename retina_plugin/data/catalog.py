"""Data sets by name: registered ones, and ``annotations.json@image_folder`` without any registration."""

from __future__ import annotations

import os
from collections.abc import Callable

from retina_plugin.data.coco import HOW_TO_NAME, Dataset, DatasetError, read_coco
from retina_plugin.data.digits import digits_dataset
from retina_plugin.registry import unknown_name

Paths = tuple[str, str]  # annotation file, image folder


def _below_datasets(json_file: str, image_root: str) -> Callable[[], Paths]:
    def paths() -> Paths:  # the variable is read when the data set is used, as a test or a notebook may set it late
        root = os.path.expanduser(os.environ.get("DETECTRON2_DATASETS", "datasets"))
        return os.path.join(root, json_file), os.path.join(root, image_root)

    return paths


_CATALOG: dict[str, Callable[[], Paths]] = {
    "bccd_train": _below_datasets("bccd/annotations/train.json", "bccd/images"),
    "bccd_val": _below_datasets("bccd/annotations/val.json", "bccd/images"),
    "cards_train": _below_datasets("cards/annotations/train.json", "cards/images"),
    "cards_val": _below_datasets("cards/annotations/val.json", "cards/images"),
    "coco_2017_train": _below_datasets("coco/annotations/instances_train2017.json", "coco/train2017"),
    "coco_2017_val": _below_datasets("coco/annotations/instances_val2017.json", "coco/val2017"),
    "coco_2017_val_100": _below_datasets("coco/annotations/instances_val2017_100.json", "coco/val2017"),
    "digits_train": lambda: digits_dataset("train"),
    "digits_test": lambda: digits_dataset("test"),
}
_LOADED: dict[tuple[str, str, float], Dataset] = {}


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
    if name in _CATALOG and _CATALOG[name]() != (json_file, image_root):
        raise DatasetError(f"data set name {name!r} is taken by {_CATALOG[name]()[0]}; choose another")
    _CATALOG[name] = lambda: (json_file, image_root)


def resolve(name: str) -> Paths:
    """Annotation file and image folder of a registered name or of ``annotations.json@image_folder``.

    Raises:
        DatasetError: neither; the nearest names are listed.
    """
    if name in _CATALOG:
        return _CATALOG[name]()
    json_file, at, image_root = name.rpartition(".json@")
    if at:
        return os.path.expanduser(json_file) + ".json", os.path.expanduser(image_root)
    message = unknown_name("data set", name, _CATALOG).split(" If it is")[0]
    raise DatasetError(f"{message} {HOW_TO_NAME}")


def load_dataset(name: str) -> Dataset:
    """Read and check a data set; once for each state of its file.

    Raises:
        DatasetError: see :func:`resolve` and :func:`retina_plugin.data.read_coco`.
    """
    json_file, image_root = resolve(name)
    changed = os.path.getmtime(json_file) if os.path.exists(json_file) else 0.0
    key = (os.path.abspath(json_file), os.path.abspath(image_root), changed)
    if key not in _LOADED:
        _LOADED[key] = read_coco(json_file, image_root, name=name)
    return _LOADED[key]
