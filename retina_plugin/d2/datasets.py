"""Data sets of this project in Detectron2's catalogs, and its reader of images with errors that name the file."""

from __future__ import annotations

import functools
from typing import Any

from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog
from detectron2.data.detection_utils import SizeMismatchError
from detectron2.structures import BoxMode

from retina_plugin.data import DatasetError, dataset_names, load_dataset


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
    """Names of the classes of a data set, read from its annotations if need be."""
    register_datasets([name])
    if MetadataCatalog.get(name).get("thing_classes") is None:
        DatasetCatalog.get(name)
    return MetadataCatalog.get(name).thing_classes


class Mapper(DatasetMapper):
    """Detectron2's mapper; a file that cannot be read is named."""

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        try:
            return super().__call__(dataset_dict)
        except (OSError, SyntaxError, SizeMismatchError) as error:
            raise DatasetError(
                f"image {dataset_dict['file_name']} cannot be used: {error}. Repair it, or take it out of the annotations."
            ) from error
