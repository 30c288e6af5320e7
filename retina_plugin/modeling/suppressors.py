"""Suppressors, which remove duplicate detections.

Axes: N images, M detections of one image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from retina_plugin.config.registry import Registry
from retina_plugin.layers.nms import batched_nms
from retina_plugin.layers.tracing import is_jit_tracing
from retina_plugin.modeling.structures import Detections

SUPPRESSORS = Registry("suppressor", node="MODEL.RETINA_PLUGIN.SUPPRESSOR")


class Suppressor(Protocol):
    """Removes duplicates from the candidates of each image."""

    def __call__(
        self, candidates: Sequence[Detections], *, max_detections: int
    ) -> list[Detections]:
        """Return the detections that are kept.

        Args:
            candidates: those of each of N images, with scores in descending order; M may be 0.
            max_detections: maximum number of detections per image.

        Returns:
            The detections of each image, with scores in descending order.
        """


@SUPPRESSORS.register(reads={"threshold": "MODEL.RETINANET.NMS_THRESH_TEST"})
class NMS:
    """Non-maximum suppression (NMS) within each class; see :func:`batched_suppression`."""

    def __init__(self, *, threshold: float) -> None:
        """
        Args:
            threshold: if the IoU of two boxes of one class is above this value, the box with the
                lower score is suppressed.
        """
        self.threshold = threshold

    def __call__(
        self, candidates: Sequence[Detections], *, max_detections: int
    ) -> list[Detections]:
        """See :class:`Suppressor`."""
        return batched_suppression(
            candidates, nms_threshold=self.threshold, max_detections=max_detections
        )


def batched_suppression(
    candidates: Sequence[Detections], *, nms_threshold: float, max_detections: int
) -> list[Detections]:
    """Apply NMS to all images in one call.

    A box is suppressed only by boxes with higher scores. It is therefore enough to process the best
    candidates first, and more candidates only if too few boxes are kept.

    Args:
        candidates: those of each image, with scores in descending order.
        nms_threshold, max_detections: see :class:`NMS` and :class:`Suppressor`.

    Returns:
        At most ``max_detections`` detections of each image, with scores in descending order.
    """
    # a trace would record the lengths and the branches below as constants
    if is_jit_tracing():
        return [_suppress_image(image, nms_threshold, max_detections) for image in candidates]
    num_selected, longest = 4 * max_detections, max(len(image["scores"]) for image in candidates)
    while True:
        selected = [{name: x[:num_selected] for name, x in image.items()} for image in candidates]
        kept = _suppress_batch(selected, nms_threshold)
        enough = (
            len(k["scores"]) >= max_detections or len(c["scores"]) <= num_selected
            for k, c in zip(kept, candidates, strict=True)
        )
        if num_selected >= longest or all(enough):
            return [{name: x[:max_detections] for name, x in image.items()} for image in kept]
        num_selected *= 4


def _suppress_batch(candidates: Sequence[Detections], nms_threshold: float) -> list[Detections]:
    sizes = [len(found["scores"]) for found in candidates]
    boxes, scores, labels = (
        torch.cat([found[name] for found in candidates]) for name in ("boxes", "scores", "labels")
    )
    image_index = torch.arange(len(sizes), device=boxes.device).repeat_interleave(
        torch.tensor(sizes, device=boxes.device)
    )
    num_classes = labels.max() + 1 if len(labels) else 1
    keep = batched_nms(boxes, scores, image_index * num_classes + labels, nms_threshold)
    keep = keep.sort().values  # by image, and by descending score within each image
    counts = torch.bincount(image_index[keep], minlength=len(sizes)).tolist()
    parts = (x[keep].split_with_sizes(counts) for x in (boxes, scores, labels))
    return [{"boxes": b, "scores": s, "labels": c} for b, s, c in zip(*parts, strict=True)]


def _suppress_image(
    candidates: Detections, nms_threshold: float, max_detections: int
) -> Detections:
    """Apply NMS to one image by tensor operations only, without branches."""
    keep = batched_nms(
        candidates["boxes"], candidates["scores"], candidates["labels"], nms_threshold
    )
    keep = keep.sort().values[:max_detections]
    return {name: x[keep] for name, x in candidates.items()}
