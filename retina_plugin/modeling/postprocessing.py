"""From dense predictions to detections: flatten, select, decode, suppress.

Axes: N images, A anchors per cell, R anchors (of one level or of all), K classes, H and W cells of
a level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from retina_plugin.layers.boxes import by_coordinate, clip, decode
from retina_plugin.layers.nms import batched_nms

# "boxes" (M, 4) XYXY pixels, "scores" (M,) in (0, 1), "labels" (M,) int64 in [0, K)
Detections = dict[str, Tensor]


def flatten_level(predictions: Tensor, num_values: int) -> Tensor:
    """(N, A * K, H, W) -> (N, H * W * A, K), the order in which anchors are generated."""
    n, _, height, width = predictions.shape
    # (N, H, W, A, K)
    predictions = predictions.view(n, -1, num_values, height, width).permute(0, 3, 4, 1, 2)
    return predictions.reshape(n, -1, num_values)


def select(logits: Tensor, *, score_threshold: float, topk: int) -> tuple[Tensor, Tensor, Tensor]:
    """The best (anchor, class) pairs of one level of one image (arXiv 1708.02002, section 4.1: at
    most 1000 above 0.05).

    The threshold is applied to logits, so that the sigmoid is computed for the few that pass.

    Args:
        logits: (R, K).
        score_threshold: in [0, 1); a pair passes when its score is above it.
        topk: how many pairs to keep at most.

    Returns:
        anchors: (k,) int64 row of each pair. classes: (k,) int64. scores: (k,) in (0, 1), falling,
            float32 at least. All empty when
        nothing passes.
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
    """The ``number`` highest of (M,), or all of them if there are fewer, and their indices."""
    if torch.jit.is_tracing():  # M would be recorded as what it is in this image
        values, order = values.sort(descending=True)
        return values[:number], order[:number]
    return values.topk(min(number, len(values)))


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
) -> list[Detections]:
    """Detections of a batch of images.

    Args:
        anchors: a tensor (R, 4) for each level.
        logits: a tensor (N, R, K) for each level.
        deltas: a tensor (N, R, 4) for each level.
        score_threshold, topk: see :func:`select`; ``topk`` counts per level and image.
        nms_threshold: IoU above which the lower of two boxes of one class goes.
        max_detections: how many boxes of an image to return at most.
        box_weights: of the box coding, see :func:`retina_plugin.layers.boxes.encode`.

    Returns:
        For each image boxes (M, 4) XYXY in pixels of the network's input, not clipped; scores (M,),
        falling; labels (M,) int64. M may be 0.
    """
    candidates = []
    for image in range(len(logits[0])):
        chosen = [select(x[image], score_threshold=score_threshold, topk=topk) for x in logits]
        rows, labels, scores = zip(*chosen, strict=True)
        boxes = decode(
            torch.cat([x[image][r] for x, r in zip(deltas, rows, strict=True)]),
            torch.cat([x[r] for x, r in zip(anchors, rows, strict=True)]),
            weights=box_weights,
        )
        scores, order = torch.cat(scores).sort(descending=True, stable=True)
        candidates.append(
            {"boxes": boxes[order], "scores": scores, "labels": torch.cat(labels)[order]}
        )
    return suppress(candidates, nms_threshold=nms_threshold, max_detections=max_detections)


def suppress(
    candidates: Sequence[Detections], *, nms_threshold: float, max_detections: int
) -> list[Detections]:
    """The best ``max_detections`` that non-maximum suppression leaves of each image, by one call
    for all images.

    A box is suppressed by better ones only, so the best that remain are known from the best
    candidates: few are tried first, and more only if too few of them remain.

    Args:
        candidates: of each image, scores falling.
        nms_threshold, max_detections: see :func:`detect`.
    """
    # lengths and decisions would be recorded as what they are in these images
    if torch.jit.is_tracing():
        return [_suppress_one(found, nms_threshold, max_detections) for found in candidates]
    width, longest = 4 * max_detections, max(len(found["scores"]) for found in candidates)
    while True:
        tried = [{name: x[:width] for name, x in found.items()} for found in candidates]
        kept = _suppress(tried, nms_threshold)
        enough = (
            len(k["scores"]) >= max_detections or len(c["scores"]) <= width
            for k, c in zip(kept, candidates, strict=True)
        )
        if width >= longest or all(enough):
            return [{name: x[:max_detections] for name, x in found.items()} for found in kept]
        width *= 4


def _suppress(candidates: Sequence[Detections], nms_threshold: float) -> list[Detections]:
    sizes = [len(found["scores"]) for found in candidates]
    boxes, scores, labels = (
        torch.cat([found[name] for found in candidates]) for name in ("boxes", "scores", "labels")
    )
    image = torch.arange(len(sizes), device=boxes.device).repeat_interleave(
        torch.tensor(sizes, device=boxes.device)
    )
    classes = labels.max() + 1 if len(labels) else 1
    keep = (
        batched_nms(boxes, scores, image * classes + labels, nms_threshold).sort().values
    )  # scores fall within each image
    counts = torch.bincount(image[keep], minlength=len(sizes)).tolist()
    parts = (x[keep].split(counts) for x in (boxes, scores, labels))
    return [{"boxes": b, "scores": s, "labels": c} for b, s, c in zip(*parts, strict=True)]


def _suppress_one(candidates: Detections, nms_threshold: float, max_detections: int) -> Detections:
    """The same of one image without widening, by operations on tensors alone."""
    keep = batched_nms(
        candidates["boxes"], candidates["scores"], candidates["labels"], nms_threshold
    )
    keep = keep.sort().values[:max_detections]
    return {name: x[keep] for name, x in candidates.items()}


def to_image(
    detections: Detections, *, network_size: tuple[int, int], image_size: tuple[int, int]
) -> Detections:
    """Carry detections from the network's input to the original image: scale, clip, drop boxes
    without area.

    Args:
        detections: from :func:`detect`.
        network_size: (height, width) of the resized image that the network saw, without padding.
        image_size: (height, width) of the original image.
    """
    scale_y, scale_x = image_size[0] / network_size[0], image_size[1] / network_size[1]
    boxes = detections["boxes"] * by_coordinate(scale_y, scale_x, like=detections["boxes"])
    boxes = clip(boxes, image_size)
    keep = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return {
        "boxes": boxes[keep],
        "scores": detections["scores"][keep],
        "labels": detections["labels"][keep],
    }
