"""Compute how many boxes of a data set match an anchor: boxes without one are hardly learnt."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from retina_plugin.data import Dataset, Sample
from retina_plugin.layers.boxes import pairwise_iou

DRAWS = 5  # random crops, sizes and flips of each image
MAX_IMAGES = 100

# (index of an image, generator) -> its sample after the training transforms; pixels are not used
SampleOf = Callable[[int, np.random.Generator], Sample]
# (height, width) of the network's input -> its anchors (R, 4) XYXY
AnchorsOf = Callable[[int, int], Tensor]


def matched_shares(
    dataset: Dataset, sample_of: SampleOf, anchors_of: AnchorsOf, *, threshold: float, seed: int
) -> list[float]:
    """Return the fraction of boxes that have an anchor with an IoU of at least ``threshold``.

    Each of up to :data:`MAX_IMAGES` evenly chosen images is transformed :data:`DRAWS` times. A box
    counts each time that it is in the transformed sample. Crowds do not count.

    Args:
        dataset: the data set.
        sample_of: see :data:`SampleOf`.
        anchors_of: see :data:`AnchorsOf`.
        threshold: smallest IoU of a positive anchor, the last of
            ``MODEL.RETINANET.IOU_THRESHOLDS``.
        seed: random seed of the transforms.

    Returns:
        K fractions in 0..1, one for each class; NaN for a class without boxes.
    """
    boxes, matched = np.zeros(dataset.num_classes), np.zeros(dataset.num_classes)
    count = len(dataset.records)
    for index in np.linspace(0, count - 1, min(count, MAX_IMAGES)).round().astype(int):
        has_objects = any(not a["iscrowd"] for a in dataset.records[index]["annotations"])
        for draw in range(DRAWS if has_objects else 0):
            sample = sample_of(index, np.random.default_rng((seed, index, draw)))
            anchors = anchors_of(*sample["image"].shape[:2])
            boxes_of_sample = torch.as_tensor(sample["boxes"], dtype=anchors.dtype)
            overlaps = pairwise_iou(boxes_of_sample, anchors)
            np.add.at(boxes, sample["labels"], 1)
            np.add.at(matched, sample["labels"], (overlaps.amax(dim=1) >= threshold).numpy())
    return [float(m / b) if b else float("nan") for m, b in zip(matched, boxes, strict=True)]


def describe_matched(dataset: Dataset, *, threshold: float, seed: int) -> str:
    """Describe the numbers of :func:`matched_shares` in a line."""
    images = min(len(dataset.records), MAX_IMAGES)
    return (
        f"matched: boxes with an anchor of IoU {threshold:g} or more, in {DRAWS} random crops, "
        "sizes and flips of training for each of "
        f"{images} images, seed {seed}"
    )
