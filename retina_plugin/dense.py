"""From dense predictions to detections: flatten, select, decode, suppress.

Axes: N images, A anchors per cell, R anchors (of one level or of all), K classes, H and W cells of a level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from retina_plugin.boxes import clip, decode
from retina_plugin.nms import batched_nms


def flatten_level(predictions: Tensor, num_values: int) -> Tensor:
    """(N, A * K, H, W) -> (N, H * W * A, K), the order in which anchors are generated."""
    n, _, height, width = predictions.shape
    predictions = predictions.view(n, -1, num_values, height, width).permute(0, 3, 4, 1, 2)  # (N, H, W, A, K)
    return predictions.reshape(n, -1, num_values)


def select(logits: Tensor, *, score_threshold: float, topk: int) -> tuple[Tensor, Tensor, Tensor]:
    """The best (anchor, class) pairs of one level of one image (arXiv 1708.02002, section 4.1: at most 1000 above 0.05).

    The threshold is applied to logits, so that the sigmoid is computed for the few that pass.

    Args:
        logits: (R, K).
        score_threshold: in [0, 1); a pair passes when its score is above it.
        topk: how many pairs to keep at most.

    Returns:
        anchors: (k,) int64 row of each pair. classes: (k,) int64. scores: (k,) in (0, 1), falling. All empty when nothing passes.
    """
    threshold = math.log(score_threshold / (1 - score_threshold)) if score_threshold > 0 else -math.inf
    flat = logits.flatten()
    candidates = (flat > threshold).nonzero()[:, 0]
    values, order = flat[candidates].topk(min(topk, len(candidates)))
    pairs = candidates[order]
    return pairs // logits.shape[1], pairs % logits.shape[1], values.sigmoid()


def detect(
    anchors: Sequence[Tensor],
    logits: Sequence[Tensor],
    deltas: Sequence[Tensor],
    *,
    score_threshold: float,
    topk: int,
    nms_threshold: float,
    max_detections: int,
    box_weights: Sequence[float],
) -> dict[str, Tensor]:
    """Detections of one image.

    Args:
        anchors: a tensor (R, 4) for each level.
        logits: a tensor (R, K) for each level.
        deltas: a tensor (R, 4) for each level.
        score_threshold, topk: see :func:`select`; ``topk`` counts per level.
        nms_threshold: IoU above which the lower of two boxes of one class goes.
        max_detections: how many boxes to return at most.
        box_weights: of the box coding, see :func:`retina_plugin.boxes.encode`.

    Returns:
        boxes (M, 4) XYXY in pixels of the network's input, not clipped; scores (M,), falling; labels (M,) int64. M may be 0.
    """
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for level_anchors, level_logits, level_deltas in zip(anchors, logits, deltas, strict=True):
        rows, classes, scores = select(level_logits, score_threshold=score_threshold, topk=topk)
        found.append((decode(level_deltas[rows], level_anchors[rows], weights=box_weights), scores, classes))
    boxes, scores, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    keep = batched_nms(boxes, scores, labels, nms_threshold)[:max_detections]
    return {"boxes": boxes[keep], "scores": scores[keep], "labels": labels[keep]}


def to_image(
    detections: dict[str, Tensor], *, network_size: tuple[int, int], image_size: tuple[int, int]
) -> dict[str, Tensor]:
    """Carry detections from the network's input to the original image: scale, clip, drop boxes without area.

    Args:
        detections: from :func:`detect`.
        network_size: (height, width) of the resized image that the network saw, without padding.
        image_size: (height, width) of the original image.
    """
    scale_y, scale_x = image_size[0] / network_size[0], image_size[1] / network_size[1]
    boxes = detections["boxes"] * detections["boxes"].new_tensor([scale_x, scale_y, scale_x, scale_y])
    boxes = clip(boxes, image_size)
    keep = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return {"boxes": boxes[keep], "scores": detections["scores"][keep], "labels": detections["labels"][keep]}
