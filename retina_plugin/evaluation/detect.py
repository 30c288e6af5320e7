"""Detect the objects of evaluation samples, for both hosts."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from retina_plugin.modeling.image_detector import ImageDetector
from retina_plugin.modeling.postprocessing import rescale_detections
from retina_plugin.modeling.preprocessing import sizes_of
from retina_plugin.modeling.retinanet import RetinaNet
from retina_plugin.modeling.structures import Detections, ImageLosses, Measured, Target
from retina_plugin.modeling.views import View

Sample = Mapping[str, Any]


def detect_samples(model: ImageDetector, samples: Sequence[Sample]) -> Measured:
    """Detect the objects of samples of :class:`retina_plugin.data.samples.EvaluationDataset`.

    Args:
        model: a detector in evaluation mode, built from the config of the samples.
        samples: N samples. Samples of ``ValidationDataset`` have ground truth, so their losses
            and unfiltered detections are computed too, from the same predictions.

    Returns:
        N detections in pixels of the image files; with ground truth also N losses and N unfiltered
        detections, which only a ``RetinaNet`` computes. The latter are missing if several views of
        an image are merged so that detections with low scores change the others.
    """
    if "views" in samples[0]:
        parts = [_detect_views(model, sample) for sample in samples]
        return Measured(
            [x for part in parts for x in part.detections],
            [x for part in parts for x in part.losses],
            [x for part in parts for x in part.unfiltered],
        )
    images = [sample["image"] for sample in samples]
    if "boxes" not in samples[0]:
        return Measured(_rescaled(model.detect_images(images), samples), [], [])
    assert isinstance(model, RetinaNet)
    found = model.detect_and_measure(images, [_target(model, sample) for sample in samples])
    return Measured(
        _rescaled(found.detections, samples), found.losses, _rescaled(found.unfiltered, samples)
    )


def _rescaled(detections: Sequence[Detections], samples: Sequence[Sample]) -> list[Detections]:
    """Convert detections from pixels of "image" to pixels of the files."""
    sizes = sizes_of([sample["image"] for sample in samples])
    return [
        rescale_detections(found, network_size=size, image_size=(sample["height"], sample["width"]))
        for found, size, sample in zip(detections, sizes, samples, strict=True)
    ]


def _target(model: ImageDetector, sample: Sample) -> Target:
    return {name: sample[name].to(model.device) for name in ("boxes", "labels")}


def _detect_views(model: ImageDetector, sample: Sample) -> Measured:
    """Evaluate one image; its losses are summed over its views."""
    size, cut = (sample["height"], sample["width"]), sample["views"]
    if "boxes" not in sample:
        return Measured([model.detect_views(size, cut)], [], [])
    assert isinstance(model, RetinaNet)
    measured, target, parts = model, _target_in_file(model, sample), list[ImageLosses]()
    unfiltered = collections.deque[Detections]()

    def detect(images: list[Tensor], views: list[View]) -> list[Detections]:
        targets = [view.from_image(target) for view in views]
        found = measured.detect_and_measure(images, targets)
        parts.extend(x for x, view in zip(found.losses, views, strict=True) if view.is_measured)
        unfiltered.extend(found.unfiltered)
        return found.detections

    detections = model.detect_views(size, cut, detect)
    losses = ImageLosses.sum(parts)
    if model.views is None or not model.views.only_suppresses:
        return Measured([detections], [losses], [])
    # the views come in the same order again; their pixels are not needed
    merged = model.detect_views(
        size,
        lambda view: torch.empty(0),
        lambda _, views: [unfiltered.popleft() for _ in views],
    )
    return Measured([detections], [losses], [merged])


def _target_in_file(model: ImageDetector, sample: Sample) -> Target:
    """Return the ground truth in pixels of the file; in the sample, it is in pixels of "image"."""
    target, (height, width) = _target(model, sample), sample["image"].shape[-2:]
    scale_y, scale_x = sample["height"] / height, sample["width"] / width
    scale = target["boxes"].new_tensor([scale_x, scale_y, scale_x, scale_y])
    return {**target, "boxes": target["boxes"] * scale}
