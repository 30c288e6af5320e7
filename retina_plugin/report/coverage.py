"""How many boxes of a data set anchors come close to: what none comes close to is hardly learnt."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from retina_plugin.boxes import pairwise_iou
from retina_plugin.data import Dataset

# (height, width) of an image -> the factor that it is resized by, and the anchors (R, 4) on the resized image
AnchorsOf = Callable[[int, int], tuple[float, Tensor]]


def matched_shares(dataset: Dataset, anchors_of: AnchorsOf, *, threshold: float, max_images: int = 100) -> list[float]:
    """The share of boxes, crowds left out, that have an anchor with an IoU of at least ``threshold``: for each class, NaN without boxes.

    Args:
        dataset: any.
        anchors_of: see :data:`AnchorsOf`.
        threshold: from which an anchor answers for a box: the last of ``MODEL.RETINANET.IOU_THRESHOLDS``.
        max_images: chosen evenly over the data set when it has more.
    """
    boxes, matched = np.zeros(dataset.num_classes), np.zeros(dataset.num_classes)
    count = len(dataset.records)
    for index in np.linspace(0, count - 1, min(count, max_images)).round().astype(int):
        record = dataset.records[index]
        objects = [a for a in record["annotations"] if not a["iscrowd"]]
        if objects:
            scale, anchors = anchors_of(record["height"], record["width"])
            corners = torch.tensor([a["bbox"] for a in objects], dtype=anchors.dtype) * scale
            close = (pairwise_iou(corners, anchors).amax(dim=1) >= threshold).numpy()
            labels = [a["category_id"] for a in objects]
            np.add.at(boxes, labels, 1)
            np.add.at(matched, labels, close)
    return [float(m / b) if b else float("nan") for m, b in zip(matched, boxes, strict=True)]
