"""Detect the objects of evaluation samples, for both hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from retina_plugin.modeling.postprocessing import rescale_detections
from retina_plugin.modeling.preprocessing import sizes_of
from retina_plugin.modeling.retinanet import RetinaNet
from retina_plugin.modeling.structures import Detections, ImageLosses, Target
from retina_plugin.modeling.views import View

Sample = Mapping[str, Any]


def detect_samples(
    model: RetinaNet, samples: Sequence[Sample]
) -> tuple[list[Detections], list[ImageLosses]]:
    """Detect the objects of samples of :class:`retina_plugin.data.samples.EvaluationDataset`.

    Args:
        model: a model in evaluation mode, built from the config of the samples.
        samples: N samples. Samples of ``ValidationDataset`` have ground truth, so their losses
            are measured too, on the same predictions.

    Returns:
        N detections in pixels of the image files, and N losses; no losses without ground truth.
    """
    if "views" in samples[0]:
        pairs = [_detect_views(model, sample) for sample in samples]
        return [found for found, _ in pairs], [x for _, losses in pairs for x in losses]
    images = [sample["image"] for sample in samples]
    losses: list[ImageLosses] = []
    if "boxes" in samples[0]:
        targets = [_target(model, sample) for sample in samples]
        detections, losses = model.detect_and_measure(images, targets)
    else:
        detections = model.detect_images(images)
    rescaled = [
        rescale_detections(found, network_size=size, image_size=(sample["height"], sample["width"]))
        for found, size, sample in zip(detections, sizes_of(images), samples, strict=True)
    ]
    return rescaled, losses


def _target(model: RetinaNet, sample: Sample) -> Target:
    return {name: sample[name].to(model.device) for name in ("boxes", "labels")}


def _detect_views(model: RetinaNet, sample: Sample) -> tuple[Detections, list[ImageLosses]]:
    """Return the detections of one image, and its losses summed over its views.

    There are no losses if the sample has no ground truth.
    """
    size, cut = (sample["height"], sample["width"]), sample["views"]
    if "boxes" not in sample:
        return model.detect_views(size, cut), []
    target, parts = _target_in_file(model, sample), list[ImageLosses]()

    def detect(images: list[Tensor], views: list[View]) -> list[Detections]:
        targets = [view.from_image(target) for view in views]
        found, losses = model.detect_and_measure(images, targets)
        parts.extend(x for x, view in zip(losses, views, strict=True) if view.is_measured)
        return found

    detections = model.detect_views(size, cut, detect)
    return detections, [ImageLosses.sum(parts)]


def _target_in_file(model: RetinaNet, sample: Sample) -> Target:
    """Return the ground truth in pixels of the file; in the sample, it is in pixels of "image"."""
    target, (height, width) = _target(model, sample), sample["image"].shape[-2:]
    scale_y, scale_x = sample["height"] / height, sample["width"] / width
    scale = target["boxes"].new_tensor([scale_x, scale_y, scale_x, scale_y])
    return {**target, "boxes": target["boxes"] * scale}
