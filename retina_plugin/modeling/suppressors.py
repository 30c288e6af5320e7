"""Suppression of detections that repeat better ones.

Axes: N images, M detections of one image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from retina_plugin.config.registry import Registry
from retina_plugin.layers.nms import batched_nms
from retina_plugin.modeling.structures import Detections

SUPPRESSORS = Registry("suppressor", node="MODEL.RETINA_PLUGIN.SUPPRESSOR")


class Suppressor(Protocol):
    """Takes the candidates of each image and returns those that stay."""

    def __call__(
        self, candidates: Sequence[Detections], *, max_detections: int
    ) -> list[Detections]:
        """
        Args:
            candidates: of each of N images, scores falling; M may be 0.
            max_detections: how many to return of an image at most.

        Returns:
            The same structure, scores falling.
        """


@SUPPRESSORS.register(reads={"threshold": "MODEL.RETINANET.NMS_THRESH_TEST"})
class NMS:
    """Non-maximum suppression in each class; see :func:`batched_suppression`."""

    def __init__(self, *, threshold: float) -> None:
        """
        Args:
            threshold: IoU above which the lower of two boxes of one class goes.
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
    """The best ``max_detections`` that non-maximum suppression leaves of each image, by one call
    for all images.

    A box is suppressed by better ones only, so the best that remain are known from the best
    candidates: few are tried first, and more only if too few of them remain.

    Args:
        candidates: of each image, scores falling.
        nms_threshold, max_detections: see :class:`NMS` and :class:`Suppressor`.
    """
    # lengths and decisions would be recorded as what they are in these images
    if torch.jit.is_tracing():
        return [_suppress_image(found, nms_threshold, max_detections) for found in candidates]
    width, longest = 4 * max_detections, max(len(found["scores"]) for found in candidates)
    while True:
        tried = [{name: x[:width] for name, x in found.items()} for found in candidates]
        kept = _suppress_batch(tried, nms_threshold)
        enough = (
            len(k["scores"]) >= max_detections or len(c["scores"]) <= width
            for k, c in zip(kept, candidates, strict=True)
        )
        if width >= longest or all(enough):
            return [{name: x[:max_detections] for name, x in found.items()} for found in kept]
        width *= 4


def _suppress_batch(candidates: Sequence[Detections], nms_threshold: float) -> list[Detections]:
    sizes = [len(found["scores"]) for found in candidates]
    boxes, scores, labels = (
        torch.cat([found[name] for found in candidates]) for name in ("boxes", "scores", "labels")
    )
    image = torch.arange(len(sizes), device=boxes.device).repeat_interleave(
        torch.tensor(sizes, device=boxes.device)
    )
    classes = labels.max() + 1 if len(labels) else 1
    keep = batched_nms(boxes, scores, image * classes + labels, nms_threshold)
    keep = keep.sort().values  # scores fall within each image
    counts = torch.bincount(image[keep], minlength=len(sizes)).tolist()
    parts = (x[keep].split(counts) for x in (boxes, scores, labels))
    return [{"boxes": b, "scores": s, "labels": c} for b, s, c in zip(*parts, strict=True)]


def _suppress_image(
    candidates: Detections, nms_threshold: float, max_detections: int
) -> Detections:
    """The same of one image without widening, by operations on tensors alone."""
    keep = batched_nms(
        candidates["boxes"], candidates["scores"], candidates["labels"], nms_threshold
    )
    keep = keep.sort().values[:max_detections]
    return {name: x[keep] for name, x in candidates.items()}
