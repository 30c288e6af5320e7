"""Images on which exported files are compared with the model."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor

from retina_plugin.data import DatasetError, final_sets, image_options, load_dataset
from retina_plugin.data.images import read_record
from retina_plugin.modeling.preprocessing import Size, padded_size, resized_shape

MOST = 3


def check_images(cfg: Any) -> tuple[list[Tensor], str]:
    """Return RGB images (3, H, W), and where they are from.

    They are the first images of the run's test set, or two photographs of scikit-learn if it is
    not on this machine.
    """
    for name in final_sets(cfg):
        try:
            records = load_dataset(name).records[:MOST]
            arrays = [read_record(record, **image_options(cfg)) for record in records]
        except DatasetError:
            continue  # the data set need not be on this machine
        if arrays:
            return [torch.tensor(x).permute(2, 0, 1) for x in arrays], name
    from sklearn.datasets import load_sample_images

    photographs = load_sample_images().images
    return [torch.tensor(x).permute(2, 0, 1) for x in photographs], "scikit-learn's photographs"


def most_frequent_size(cfg: Any, stride: int) -> tuple[Size, str] | None:
    """Return the padded size that most images of the run's test sets have at the network's input,
    and a text with their number; None if no set is on this machine."""
    counts: Counter[Size] = Counter()
    for name in final_sets(cfg):
        try:
            records = load_dataset(name).records
        except DatasetError:
            continue
        for record in records:
            shape = resized_shape(
                record["height"],
                record["width"],
                cfg.INPUT.MIN_SIZE_TEST,
                cfg.INPUT.MAX_SIZE_TEST,
            )
            counts[padded_size([shape], stride)] += 1
    if not counts:
        return None
    size, number = counts.most_common(1)[0]
    return size, f"{number} of {sum(counts.values())} test images have this size"
