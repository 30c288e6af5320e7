"""Compare what a file computes with what the model computes.

Axes: N images, R anchors per image, K classes, D numbers that encode a box, M detections.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from retina_plugin.export.network import BOXES, RAW, decode_batch
from retina_plugin.layers.boxes import pairwise_iou
from retina_plugin.modeling.postprocessing import PostProcessor
from retina_plugin.modeling.retinanet import RetinaNet
from retina_plugin.modeling.structures import Anchors, Detections

SCORE_TOLERANCE, BOX_TOLERANCE = 1e-4, 0.1  # of scores in 0..1, and of boxes in pixels
IOU_TOLERANCE = 1e-3  # of a decision of NMS
COMPARED_BOXES = 1000  # of each image, those with the highest scores


def output_difference(
    model: RetinaNet,
    outputs: str,
    found: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    anchors: Anchors,
) -> str:
    """Describe the first difference between the outputs of two networks; "" if there is none.

    Args:
        model: the model, which decodes boxes.
        outputs: "raw" or "boxes".
        found: the outputs of the file; for names and shapes see
            :mod:`retina_plugin.export.network`.
        expected: those of the model.
        anchors: all anchors of an image.
    """
    assert outputs in (RAW, BOXES)
    for name, value in expected.items():
        if found[name].shape != value.shape:
            return f"{name}: shape {tuple(found[name].shape)} instead of {tuple(value.shape)}"
    pairs = [_as_scores_and_boxes(model, outputs, x, anchors) for x in (found, expected)]
    scores, boxes = zip(*pairs, strict=True)
    best = scores[1].amax(dim=-1).topk(min(COMPARED_BOXES, scores[1].shape[1]), dim=1).indices
    near = [x.gather(1, best[..., None].expand(-1, -1, 4)) for x in boxes]
    qualities = [x["quality"] for x in (found, expected) if "quality" in x]
    if outputs == RAW:
        qualities = [x.sigmoid() for x in qualities]
    return (
        _largest("scores", *scores, tolerance=SCORE_TOLERANCE)
        or (_largest("quality", *qualities, tolerance=SCORE_TOLERANCE) if qualities else "")
        or _largest("boxes", *near, tolerance=BOX_TOLERANCE, unit=" pixels")
    )


def _as_scores_and_boxes(
    model: RetinaNet, outputs: str, found: Mapping[str, Tensor], anchors: Anchors
) -> tuple[Tensor, Tensor]:
    if outputs == BOXES:
        return found["scores"], found["boxes"]
    own = anchors._replace(boxes=found["anchors"])
    return found["logits"].sigmoid(), decode_batch(model, found["deltas"], own)


def _largest(
    name: str, found: Tensor, expected: Tensor, *, tolerance: float, unit: str = ""
) -> str:
    difference = (found - expected).abs()
    if not difference.isfinite().all():
        return f"{name}: some values are NaN or infinite"
    if not difference.numel() or difference.max() <= tolerance:
        return ""
    per_image = difference.flatten(1).amax(dim=1)
    image = int(per_image.argmax())
    return (
        f"{name}: the largest difference is {per_image[image]:.3g}{unit}, in image {image + 1} of "
        f"the batch; at most {tolerance:g} is allowed"
    )


def detection_difference(
    found: Detections, expected: Detections, postprocessor: PostProcessor
) -> str:
    """Describe a difference between the detections of one image; "" if there is none.

    Each detection needs a counterpart with the same label. A detection whose score lies at the
    score threshold or at the limit of the number of detections, or whose IoU with another one lies
    at the threshold of NMS, needs none: there, rounding decides.

    Args:
        found, expected: the detections of the file and of the model.
        postprocessor: gives the thresholds.
    """
    for mine, others, where in (
        (expected, found, "the model has"),
        (found, expected, "the file has"),
    ):
        alone = ~_has_counterpart(mine, others) & ~_is_borderline(mine, others, postprocessor)
        if alone.any():
            row = int(alone.nonzero()[0])
            box = ", ".join(f"{x:.1f}" for x in mine["boxes"][row].tolist())
            return (
                f"detections: {where} one of class {int(mine['labels'][row])} with score "
                f"{mine['scores'][row]:.4f} at ({box}) without a counterpart; scores may differ by "
                f"{SCORE_TOLERANCE:g} and boxes by {BOX_TOLERANCE:g} pixels"
            )
    return ""


def _has_counterpart(mine: Detections, others: Detections) -> Tensor:
    same = (
        (mine["labels"][:, None] == others["labels"])
        & ((mine["scores"][:, None] - others["scores"]).abs() <= SCORE_TOLERANCE)
        & ((mine["boxes"][:, None] - others["boxes"]).abs().amax(dim=2) <= BOX_TOLERANCE)
    )
    return same.any(dim=1)


def _is_borderline(mine: Detections, others: Detections, postprocessor: PostProcessor) -> Tensor:
    scores = mine["scores"]
    near = (scores - postprocessor.score_threshold).abs() <= SCORE_TOLERANCE
    if len(scores) >= postprocessor.max_detections and len(scores):
        near |= scores - scores.min() <= SCORE_TOLERANCE
    threshold = getattr(postprocessor.suppressor, "threshold", None)
    if threshold is not None and len(scores):
        boxes = torch.cat([mine["boxes"], others["boxes"]])
        at_limit = (pairwise_iou(mine["boxes"], boxes) - threshold).abs() <= IOU_TOLERANCE
        near |= at_limit.any(dim=1)
    return near
