"""Suppressors, which remove duplicate detections.

Axes: N images, M detections of one image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from retina_plugin.config.registry import Registry
from retina_plugin.layers.nms import batched_nms
from retina_plugin.layers.soft_nms import soft_nms
from retina_plugin.layers.tracing import is_jit_tracing
from retina_plugin.modeling.structures import Detections

SUPPRESSORS = Registry("suppressor", node="MODEL.RETINA_PLUGIN.SUPPRESSOR")
GROUP = "group"  # (M,) int64, an optional entry of candidates; see batched_suppression


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


@SUPPRESSORS.register(reads={"threshold": "MODEL.RETINANET.NMS_THRESH_TEST"})
class ClassAgnosticNMS:
    """NMS in which boxes of different classes also suppress each other.

    For data in which objects of different classes do not overlap, such as traffic signs.
    """

    def __init__(self, *, threshold: float) -> None:
        """
        Args:
            threshold: if the IoU of two boxes is above this value, the box with the lower score is
                suppressed.
        """
        self.threshold = threshold

    def __call__(
        self, candidates: Sequence[Detections], *, max_detections: int
    ) -> list[Detections]:
        """See :class:`Suppressor`."""
        in_one_group = [{**c, GROUP: torch.zeros_like(c["labels"])} for c in candidates]
        kept = batched_suppression(
            in_one_group, nms_threshold=self.threshold, max_detections=max_detections
        )
        return [{name: x for name, x in image.items() if name != GROUP} for image in kept]


@SUPPRESSORS.register(
    reads={
        "threshold": "MODEL.RETINANET.NMS_THRESH_TEST",
        "method": "MODEL.RETINA_PLUGIN.SUPPRESSOR.SoftNMS.METHOD",
        "sigma": "MODEL.RETINA_PLUGIN.SUPPRESSOR.SoftNMS.SIGMA",
        "min_score": "MODEL.RETINA_PLUGIN.SUPPRESSOR.SoftNMS.MIN_SCORE",
    }
)
class SoftNMS:
    """Soft-NMS within each class.

    Boxes that overlap a box with a higher score get a lower score instead of being removed; see
    :func:`retina_plugin.layers.soft_nms.soft_nms`.
    """

    def __init__(self, *, threshold: float, method: str, sigma: float, min_score: float) -> None:
        """See :func:`retina_plugin.layers.soft_nms.soft_nms`."""
        self.threshold, self.method = threshold, method
        self.sigma, self.min_score = sigma, min_score

    def __call__(
        self, candidates: Sequence[Detections], *, max_detections: int
    ) -> list[Detections]:
        """See :class:`Suppressor`.

        Raises:
            RuntimeError: in ``torch.jit.trace``, which would record the number of candidates.
        """
        if is_jit_tracing():
            raise RuntimeError(
                "MODEL.RETINA_PLUGIN.SUPPRESSOR.NAME: torch.jit.trace cannot record SoftNMS, "
                "because its steps depend on the number of candidates. Trace with NMS or "
                "ClassAgnosticNMS."
            )
        return [self._suppress(image, max_detections) for image in candidates]

    def _suppress(self, candidates: Detections, max_detections: int) -> Detections:
        rows, scores = soft_nms(
            candidates["boxes"],
            candidates["scores"],
            candidates["labels"],
            method=self.method,
            iou_threshold=self.threshold,
            sigma=self.sigma,
            min_score=self.min_score,
            max_kept=max_detections,
        )
        return {**{name: x[rows] for name, x in candidates.items()}, "scores": scores}


def batched_suppression(
    candidates: Sequence[Detections], *, nms_threshold: float, max_detections: int
) -> list[Detections]:
    """Apply NMS to all images in one call.

    A box is suppressed only by boxes with higher scores. It is therefore enough to process the best
    candidates first, and more candidates only if too few boxes are kept.

    Args:
        candidates: the candidates of each image, with scores in descending order. Boxes suppress
            each other if they have the same label or, if there is an entry :data:`GROUP`, the same
            group.
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
    together = {name: torch.cat([found[name] for found in candidates]) for name in candidates[0]}
    groups = _groups(together)
    image_index = torch.arange(len(sizes), device=groups.device).repeat_interleave(
        torch.tensor(sizes, device=groups.device)
    )
    num_groups = groups.max() + 1 if len(groups) else 1
    keep = batched_nms(
        together["boxes"], together["scores"], image_index * num_groups + groups, nms_threshold
    )
    keep = keep.sort().values  # by image, and by descending score within each image
    counts = torch.bincount(image_index[keep], minlength=len(sizes)).tolist()
    parts = {name: x[keep].split_with_sizes(counts) for name, x in together.items()}
    return [{name: x[i] for name, x in parts.items()} for i in range(len(sizes))]


def _suppress_image(
    candidates: Detections, nms_threshold: float, max_detections: int
) -> Detections:
    """Apply NMS to one image by tensor operations only, without branches."""
    keep = batched_nms(
        candidates["boxes"], candidates["scores"], _groups(candidates), nms_threshold
    )
    keep = keep.sort().values[:max_detections]
    return {name: x[keep] for name, x in candidates.items()}


def _groups(candidates: Detections) -> Tensor:
    """Return the group (M,) of each candidate; see :func:`batched_suppression`."""
    return candidates.get(GROUP, candidates["labels"])
