"""Convert Detectron2's dataset dicts to records, and samples to Detectron2's dicts and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.structures import Boxes, BoxMode, Instances

Record = dict[str, Any]


class RecordsOfDicts(Sequence[Record]):
    """Detectron2's dataset dicts as records of :class:`retina_plugin.data.Dataset`, converted on
    access.

    "annotations", "iscrowd" and "image_id" may be missing in the dicts. The defaults are no
    objects, 0, and the index.
    """

    def __init__(self, dicts: Sequence[Record]) -> None:
        self.dicts = dicts

    def __len__(self) -> int:
        return len(self.dicts)

    def __getitem__(self, index: int) -> Record:  # type: ignore[override]  # no slices
        found = self.dicts[index]
        annotations = [
            {
                "bbox": _to_xyxy(a["bbox"], a["bbox_mode"]),
                "category_id": a["category_id"],
                "iscrowd": a.get("iscrowd") or 0,
            }
            for a in found.get("annotations", ())
        ]
        return {"image_id": index, **found, "annotations": annotations}


def _to_xyxy(box: Any, mode: BoxMode) -> list[float]:
    """Convert a box to XYXY in pixels, in double precision."""
    boxes = np.array([box], dtype=np.float64)  # Detectron2 would convert a list in float32
    corners: list[float] = BoxMode.convert(boxes, mode, BoxMode.XYXY_ABS)[0].tolist()
    return corners


def to_detectron2(samples: list[dict[str, Any]]) -> list[Record]:
    """Convert samples of :class:`retina_plugin.data.samples.TrainingDataset` to the input of
    Detectron2's models: "instances" with ``gt_boxes`` and ``gt_classes`` replace "boxes" and
    "labels"."""
    return [_to_dict(**sample) for sample in samples]


def _to_dict(*, boxes: Any, labels: Any, **others: Any) -> Record:
    instances = Instances(tuple(others["image"].shape[1:]))
    instances.gt_boxes, instances.gt_classes = Boxes(boxes), labels
    return {**others, "instances": instances}


def from_detectron2(image_dict: Record) -> dict[str, Any]:
    """Convert the dict of one image back to a sample; see :func:`to_detectron2`."""
    others = {name: value for name, value in image_dict.items() if name != "instances"}
    instances = image_dict["instances"]
    return {**others, "boxes": instances.gt_boxes.tensor, "labels": instances.gt_classes}
