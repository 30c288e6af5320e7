"""How many boxes of a data set anchors come close to, as training sees them: what no anchor comes
close to is hardly learnt."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from retina_plugin.data import Dataset, Sample
from retina_plugin.layers.boxes import pairwise_iou

DRAWS = 5  # of crop, size and flip, for each image
MAX_IMAGES = 100

# index of an image, a generator -> its sample after the transforms of training; its pixels are not
# looked at
SampleOf = Callable[[int, np.random.Generator], Sample]
# (height, width) of the network's input -> the anchors (R, 4) on it
AnchorsOf = Callable[[int, int], Tensor]


def matched_shares(
    dataset: Dataset, sample_of: SampleOf, anchors_of: AnchorsOf, *, threshold: float, seed: int
) -> list[float]:
    """The share of boxes that have an anchor with an IoU of at least ``threshold``: for each class,
    NaN without boxes.

    A box counts once for each of :data:`DRAWS` draws of the transforms in which something of it is
    left; crowds do not count. Up to :data:`MAX_IMAGES` images are taken, chosen evenly over the
    data set.

    Args:
        dataset: any.
        sample_of: see :data:`SampleOf`.
        anchors_of: see :data:`AnchorsOf`.
        threshold: from which an anchor learns a box: the last of
            ``MODEL.RETINANET.IOU_THRESHOLDS``.
        seed: of the draws; each image has a generator of its own for each draw.
    """
    boxes, matched = np.zeros(dataset.num_classes), np.zeros(dataset.num_classes)
    count = len(dataset.records)
    for index in np.linspace(0, count - 1, min(count, MAX_IMAGES)).round().astype(int):
        objects = any(not a["iscrowd"] for a in dataset.records[index]["annotations"])
        for draw in range(DRAWS if objects else 0):
            sample = sample_of(index, np.random.default_rng((seed, index, draw)))
            anchors = anchors_of(*sample["image"].shape[:2])
            seen = torch.as_tensor(sample["boxes"], dtype=anchors.dtype)
            overlaps = pairwise_iou(seen, anchors)
            np.add.at(boxes, sample["labels"], 1)
            np.add.at(matched, sample["labels"], (overlaps.amax(dim=1) >= threshold).numpy())
    return [float(m / b) if b else float("nan") for m, b in zip(matched, boxes, strict=True)]


def describe_matched(dataset: Dataset, *, threshold: float, seed: int) -> str:
    """What the numbers of :func:`matched_shares` are, in a line."""
    images = min(len(dataset.records), MAX_IMAGES)
    return (
        f"matched: boxes with an anchor of IoU {threshold:g} or more, in {DRAWS} random crops, "
        "sizes and flips of training for each of "
        f"{images} images, seed {seed}"
    )
