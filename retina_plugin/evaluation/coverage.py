"""How many boxes of a data set anchors come close to, as training sees them: what no anchor comes
close to is hardly learnt."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from retina_plugin.data import Dataset
from retina_plugin.layers.boxes import pairwise_iou

DRAWS = 5  # of crop, size and flip, for each image
MAX_IMAGES = 100

# (height, width) of an image, its boxes (M, 4), a generator -> (height, width) of the network's
# input and the boxes (M, 4) on it
Transform = Callable[
    [tuple[int, int], np.ndarray, np.random.Generator], tuple[tuple[int, int], np.ndarray]
]
# (height, width) of the network's input -> the anchors (R, 4) on it
AnchorsOf = Callable[[int, int], Tensor]


def matched_shares(
    dataset: Dataset, transform: Transform, anchors_of: AnchorsOf, *, threshold: float, seed: int
) -> list[float]:
    """The share of boxes that have an anchor with an IoU of at least ``threshold``: for each class,
    NaN without boxes.

    A box counts once for each of :data:`DRAWS` draws of the transforms in which something of it is
    left; crowds do not count. Up to :data:`MAX_IMAGES` images are taken, chosen evenly over the
    data set.

    Args:
        dataset: any.
        transform: those of training, see :data:`Transform`.
        anchors_of: see :data:`AnchorsOf`.
        threshold: from which an anchor learns a box: the last of
            ``MODEL.RETINANET.IOU_THRESHOLDS``.
        seed: of the draws; each image has a generator of its own for each draw.
    """
    boxes, matched = np.zeros(dataset.num_classes), np.zeros(dataset.num_classes)
    count = len(dataset.records)
    for index in np.linspace(0, count - 1, min(count, MAX_IMAGES)).round().astype(int):
        record = dataset.records[index]
        objects = [a for a in record["annotations"] if not a["iscrowd"]]
        corners = np.array([a["bbox"] for a in objects], dtype=np.float64).reshape(-1, 4)
        labels = np.array([a["category_id"] for a in objects], dtype=np.int64)
        for draw in range(DRAWS if objects else 0):
            rng = np.random.default_rng((seed, index, draw))
            size, seen = transform((record["height"], record["width"]), corners, rng)
            kept = (seen[:, 2] > seen[:, 0]) & (seen[:, 3] > seen[:, 1])
            anchors = anchors_of(*size)
            overlaps = pairwise_iou(torch.as_tensor(seen[kept], dtype=anchors.dtype), anchors)
            np.add.at(boxes, labels[kept], 1)
            np.add.at(matched, labels[kept], (overlaps.amax(dim=1) >= threshold).numpy())
    return [float(m / b) if b else float("nan") for m, b in zip(matched, boxes, strict=True)]


def how_matched(dataset: Dataset, *, threshold: float, seed: int) -> str:
    """What the numbers of :func:`matched_shares` are, in a line."""
    images = min(len(dataset.records), MAX_IMAGES)
    return (
        f"matched: boxes with an anchor of IoU {threshold:g} or more, in {DRAWS} random crops, "
        "sizes and flips of training for each of "
        f"{images} images, seed {seed}"
    )
