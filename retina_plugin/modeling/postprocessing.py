"""Post-processing: compute detections from the predictions for all anchors.

Axes: N images, R anchors (of one level or of all levels), K classes, M detections of one image.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from retina_plugin.layers.boxes import clip, whwh
from retina_plugin.layers.tracing import is_jit_tracing
from retina_plugin.modeling.contracts import require_detections, require_values
from retina_plugin.modeling.structures import Anchors, Detections, Predictions
from retina_plugin.modeling.suppressors import Suppressor


class PostProcessor:
    """Selects the best candidates of each level, decodes their boxes and applies a suppressor."""

    def __init__(
        self,
        *,
        box_coder: Any,
        suppressor: Suppressor,
        score_threshold: float,
        topk_candidates: int,
        max_detections: int,
    ) -> None:
        """
        Args:
            box_coder: a part of :data:`retina_plugin.modeling.BOX_CODERS`.
            suppressor: a part of :data:`retina_plugin.modeling.SUPPRESSORS`.
            score_threshold, topk_candidates: see :func:`select_candidates`, which is applied to
                each level of each image.
            max_detections: maximum number of detections per image.
        """
        self.box_coder, self.suppressor = box_coder, suppressor
        self.score_threshold, self.topk_candidates = score_threshold, topk_candidates
        self.max_detections = max_detections

    def __call__(
        self, predictions: Predictions, anchors: Anchors, *, score_threshold: float | None = None
    ) -> list[Detections]:
        """Compute the detections of each image.

        Args:
            predictions: the output of the head for N images. With a quality branch, the score is
                sigmoid(logit) * sigmoid(quality); the threshold is applied to sigmoid(logit).
            anchors: all R anchors of an image.
            score_threshold: None for that of the constructor.

        Returns:
            For each image "boxes" (M, 4), XYXY in pixels of the network's input, not clipped;
            "scores" (M,) in descending order; "labels" (M,) int64. M may be 0.
        """
        threshold = self.score_threshold if score_threshold is None else score_threshold
        candidates = [
            self._candidates(predictions, anchors, n, threshold)
            for n in range(len(predictions.logits))
        ]
        detections = self.suppressor(candidates, max_detections=self.max_detections)
        require_detections(
            self.suppressor,
            detections,
            num_images=len(candidates),
            max_detections=self.max_detections,
        )
        return detections

    def _candidates(
        self, predictions: Predictions, anchors: Anchors, image: int, score_threshold: float
    ) -> Detections:
        """Return the decoded candidates of one image, highest score first."""
        start, selected = 0, []
        for logits in predictions.logits[image].split_with_sizes(list(anchors.counts)):
            rows, labels, scores = select_candidates(
                logits, score_threshold=score_threshold, topk=self.topk_candidates
            )
            selected.append((rows + start, labels, scores))
            start = start + logits.shape[0]
        rows, labels, scores = (torch.cat(parts) for parts in zip(*selected, strict=True))
        if predictions.quality is not None:
            scores = scores * predictions.quality[image, rows].to(scores.dtype).sigmoid()
        boxes = self.box_coder.decode(predictions.deltas[image, rows], anchors.at(rows))
        require_values("box coder", self.box_coder, "boxes (M, 4)", boxes, len(rows), 4)
        scores, order = scores.sort(descending=True, stable=True)
        return {"boxes": boxes[order], "scores": scores, "labels": labels[order]}


def select_candidates(
    logits: Tensor, *, score_threshold: float, topk: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Select the (anchor, class) pairs with the highest scores in one level of one image.

    The paper selects at most 1000 pairs above 0.05 per level (arXiv 1708.02002, section 4.1). The
    threshold is applied to the logits, so that the sigmoid is computed for the selected pairs only.

    Args:
        logits: (R, K).
        score_threshold: in [0, 1); only pairs with a score above it are selected.
        topk: maximum number of pairs.

    Returns:
        anchors: (k,) int64, the index of the anchor of each pair.
        classes: (k,) int64.
        scores: (k,) float32 or float64 in [0, 1], in descending order.

        They are empty if no score is above the threshold.
    """
    threshold = (
        math.log(score_threshold / (1 - score_threshold)) if score_threshold > 0 else -math.inf
    )
    flat = logits.flatten()
    candidates = (flat > threshold).nonzero()[:, 0]
    values, order = _highest(flat[candidates], topk)
    pairs = candidates[order]
    scores = values.to(torch.promote_types(values.dtype, torch.float32)).sigmoid()
    return pairs // logits.shape[1], pairs % logits.shape[1], scores


def _highest(values: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Return the ``number`` highest values of (M,), or all if M is smaller, and their indices."""
    if is_jit_tracing():  # min() would record M as a constant
        values, order = values.sort(descending=True)
        return values[:number], order[:number]
    return values.topk(min(number, len(values)))


def rescale_detections(
    detections: Detections, *, network_size: tuple[int, int], image_size: tuple[int, int]
) -> Detections:
    """Rescale detections to the original image, clip them, and drop boxes without area.

    Args:
        detections: from :class:`PostProcessor`.
        network_size: (height, width) of the resized image, without padding.
        image_size: (height, width) of the original image.
    """
    scale_y, scale_x = image_size[0] / network_size[0], image_size[1] / network_size[1]
    boxes = detections["boxes"] * whwh(scale_y, scale_x, like=detections["boxes"])
    boxes = clip(boxes, image_size)
    keep = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return {
        "boxes": boxes[keep],
        "scores": detections["scores"][keep],
        "labels": detections["labels"][keep],
    }
