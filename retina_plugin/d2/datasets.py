"""Data sets of this project in Detectron2's catalogs, and its reader of images with errors that name the file."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog, build_detection_train_loader
from detectron2.data.detection_utils import SizeMismatchError
from detectron2.structures import BoxMode

from retina_plugin.data import DatasetError, dataset_names, load_dataset, register_dataset, require_boxes


def register_datasets(names: list[str] | None = None) -> None:
    """Register data sets by name in ``DatasetCatalog`` unless the name is taken; nothing is read before it is used.

    Args:
        names: registered names or ``annotations.json@image_folder``; None for all registered ones.
    """
    for name in dataset_names() if names is None else names:
        if name not in DatasetCatalog:
            DatasetCatalog.register(name, functools.partial(_records, name))


def _records(name: str) -> list[dict[str, Any]]:
    """Detectron2's list of dicts, with the metadata that its evaluator and its pictures need."""
    dataset = load_dataset(name)
    MetadataCatalog.get(name).set(
        json_file=dataset.json_file,
        image_root=dataset.image_root,
        evaluator_type="coco",
        thing_classes=list(dataset.class_names),
        thing_dataset_id_to_contiguous_id={coco_id: i for i, coco_id in enumerate(dataset.category_ids)},
    )
    return [
        {**record, "annotations": [{**a, "bbox_mode": BoxMode.XYXY_ABS} for a in record["annotations"]]}
        for record in dataset.records
    ]


def class_names(name: str) -> list[str]:
    """Names of the classes of a data set, read from its annotations if need be.

    A data set that the user has registered in Detectron2 becomes known to this project's reports too.
    """
    register_datasets([name])
    metadata = MetadataCatalog.get(name)
    if metadata.get("thing_classes") is None:
        DatasetCatalog.get(name)
    if (
        name not in dataset_names()
        and ".json@" not in name
        and metadata.get("json_file")
        and metadata.get("image_root")
    ):
        register_dataset(name, metadata.json_file, metadata.image_root)
    return metadata.thing_classes


def require_training_boxes(cfg: Any) -> None:
    """Make sure that each training set of this project's catalog has something to learn.

    Raises:
        DatasetError: it has not.
    """
    for name in cfg.DATASETS.TRAIN:
        if name in dataset_names() or ".json@" in name:
            require_boxes(load_dataset(name))


def training_samples(cfg: Any) -> Iterator[dict[str, Any]]:
    """What Detectron2's training loader feeds, one sample after the other, "image" in RGB; for looking at it. It never ends."""
    register_datasets(list(cfg.DATASETS.TRAIN))
    for batch in build_detection_train_loader(cfg, mapper=Mapper(cfg, is_train=True)):
        for sample in batch:
            image, instances = sample["image"], sample["instances"]
            yield {
                "image": image.flip(0) if cfg.INPUT.FORMAT == "BGR" else image,
                "boxes": instances.gt_boxes.tensor,
                "labels": instances.gt_classes,
                "file_name": sample["file_name"],
            }


class Mapper(DatasetMapper):
    """Detectron2's mapper; a file that cannot be read is named."""

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        try:
            return super().__call__(dataset_dict)
        except (OSError, SyntaxError, SizeMismatchError) as error:
            raise DatasetError(
                f"image {dataset_dict['file_name']} cannot be used: {error}. Repair it, or take it out of the annotations."
            ) from error
