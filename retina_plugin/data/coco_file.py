"""Write records to a file in COCO format."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from retina_plugin.config.files import write_atomically
from retina_plugin.data.box_lengths import length_between
from retina_plugin.data.dataset import Dataset

FLAGS = ("difficult", "group_of")  # reasons for "iscrowd" in other formats


def write_coco_file(
    dataset: Dataset,
    indices: Iterable[int],
    path: str,
    *,
    file_name: Callable[[str], str] = os.path.abspath,
    info: Mapping[str, Any] | None = None,
) -> None:
    """Write images of a data set with their boxes and all classes, completely or not at all.

    By default, ``file_name`` is an absolute path, so that ``load_dataset(f"{path}@")`` returns
    equal records.

    Args:
        dataset: boxes and sizes are written as in its records: in pixels, after EXIF rotation.
        indices: the indices of the records to write.
        path: the path of the JSON file; its folder must exist.
        file_name: returns the ``file_name`` of an image in the JSON file, given its path.
        info: COCO's "info", which no reader of data sets needs; None to leave it out.

    Raises:
        DiskError: the file cannot be written.
    """
    records = [dataset.records[index] for index in indices]
    content: dict[str, Any] = {
        **({"info": info} if info else {}),
        "images": [
            {
                "id": record["image_id"],
                "file_name": file_name(record["file_name"]),
                "width": record["width"],
                "height": record["height"],
            }
            for record in records
        ],
        "categories": [
            {"id": coco_id, "name": name}
            for coco_id, name in zip(dataset.category_ids, dataset.class_names, strict=True)
        ],
    }
    if dataset.has_ground_truth:
        content["annotations"] = [
            {
                "id": annotation["id"],
                "image_id": record["image_id"],
                "category_id": dataset.category_ids[annotation["category_id"]],
                "bbox": _xywh(annotation["bbox"]),
                "area": annotation["area"],
                "iscrowd": annotation["iscrowd"],
                **{flag: annotation[flag] for flag in FLAGS if flag in annotation},
            }
            for record in records
            for annotation in record["annotations"]
        ]
    write_atomically(path, json.dumps(content))


def _xywh(box: list[float]) -> list[float]:
    x0, y0, x1, y1 = box
    return [x0, y0, length_between(x0, x1), length_between(y0, y1)]
