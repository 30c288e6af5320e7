"""Estimate how long an evaluation takes, from a few images."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import nn

from retina_plugin.data import load_dataset, validation_sets
from retina_plugin.data.samples import EvaluationDataset, ValidationDataset
from retina_plugin.evaluation.detect import detect_samples
from retina_plugin.modeling.retinanet import RetinaNet, evaluation_mode

MEASURED_IMAGES = 8
METRIC_SECONDS = 0.003  # per image, for the metrics of COCO
LOADER_SECONDS = 1.0  # to start loaders and read the annotations
OTHER_MODEL_SECONDS = 0.1  # per image, for models that are not of this project


def estimate_evaluation_seconds(model: nn.Module, cfg: Any, *, processes: int) -> float:
    """Estimate the time of an evaluation on the validation sets.

    Args:
        model: the model on its device.
        cfg: the config of the run.
        processes: the number of processes that share the images.

    Returns:
        Seconds; 0 without validation sets.

    Raises:
        DatasetError: an image cannot be read.
    """
    records = [record for name in validation_sets(cfg) for record in load_dataset(name).records]
    if not records:
        return 0.0
    some = records[:: max(len(records) // MEASURED_IMAGES, 1)][:MEASURED_IMAGES]
    seconds = (
        _seconds_per_image(model, ValidationDataset.from_config(cfg, some))
        if isinstance(model, RetinaNet)
        else OTHER_MODEL_SECONDS
    )
    return LOADER_SECONDS + len(records) * (seconds / processes + METRIC_SECONDS)


def _seconds_per_image(model: RetinaNet, images: EvaluationDataset) -> float:
    """Return the median time to read an image, detect its objects and measure its losses."""
    times = []
    with evaluation_mode(model), torch.no_grad():
        for index in range(len(images)):
            started = time.perf_counter()
            (found,) = detect_samples(model, [images[index]]).detections
            found["scores"].tolist()  # wait for the GPU
            times.append(time.perf_counter() - started)
    return statistics.median(times[1:] or times)  # the first image is slow
