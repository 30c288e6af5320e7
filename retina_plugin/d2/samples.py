"""Detectron2's dicts as records of this project, and this project's samples as Detectron2's
dicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.structures import Boxes, BoxMode, Instances

Record = dict[str, Any]


class RecordsOfDicts(Sequence):
    """Detectron2's dicts of images as records of :class:`retina_plugin.data.Dataset`, converted
    when they are taken.

    Functions of users may leave out "annotations" of an image without objects, "iscrowd" and
    "image_id", which is the index then.
    """

    def __init__(self, dicts: Sequence[Record]) -> None:
        self.dicts = dicts

    def __len__(self) -> int:
        return len(self.dicts)

    def __getitem__(self, index: int) -> Record:
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
    """XYXY in pixels, in double precision, which Detectron2 keeps of arrays only."""
    boxes = np.array([box], dtype=np.float64)
    return BoxMode.convert(boxes, mode, BoxMode.XYXY_ABS)[0].tolist()


def to_detectron2(samples: list[dict[str, Any]]) -> list[Record]:
    """A batch of :class:`retina_plugin.data.samples.TrainingDataset` as Detectron2's models take
    it: "instances" with ``gt_boxes`` and ``gt_classes`` in place of "boxes" and "labels"."""
    return [_to_dict(**sample) for sample in samples]


def _to_dict(*, boxes: Any, labels: Any, **others: Any) -> Record:
    instances = Instances(tuple(others["image"].shape[1:]))
    instances.gt_boxes, instances.gt_classes = Boxes(boxes), labels
    return {**others, "instances": instances}


def from_detectron2(given: Record) -> dict[str, Any]:
    """The inverse of :func:`to_detectron2`, for one image."""
    others = {name: value for name, value in given.items() if name != "instances"}
    instances = given["instances"]
    return {**others, "boxes": instances.gt_boxes.tensor, "labels": instances.gt_classes}
