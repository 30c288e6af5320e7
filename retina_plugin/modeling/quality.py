"""The quality of the positives: targets of scores and of the quality branch, and weights of the box
losses.

Axes: N images, R anchors per image, P positives.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from retina_plugin.layers.boxes import elementwise_iou
from retina_plugin.losses import sum_over_ranks
from retina_plugin.modeling.contracts import require_values
from retina_plugin.modeling.positives import Positives
from retina_plugin.modeling.structures import Assignment, Predictions


def centerness(anchors: Tensor, boxes: Tensor) -> Tensor:
    """Return the centreness of anchors in their boxes (FCOS, arXiv 1904.01355, equation 3).

    Args:
        anchors: (P, 4) XYXY; only their centres are used.
        boxes: (P, 4) XYXY; P may be 0.

    Returns:
        (P,), 1 in the middle of the box, 0 on its edges and outside.
    """
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    lower, upper = centres - boxes[:, :2], boxes[:, 2:] - centres  # (P, 2): left, top; right, down
    near, far = torch.minimum(lower, upper), torch.maximum(lower, upper)
    ratios = near.clamp(min=0) / far.clamp(min=torch.finfo(far.dtype).tiny)
    return ratios.prod(dim=1).sqrt()


def predicted_iou(box_coder: Any, deltas: Tensor, positives: Positives) -> Tensor:
    """Return the IoU of each decoded box with its ground-truth box, (P,) without gradient.

    Args:
        box_coder: a part of :data:`retina_plugin.modeling.BOX_CODERS`.
        deltas: (P, D), the predictions of the positives.
        positives: the positives.
    """
    boxes = box_coder.decode(deltas.detach(), positives.anchors)
    require_values("box coder", box_coder, "boxes (P, 4)", boxes, len(deltas), 4)
    return elementwise_iou(boxes, positives.boxes.to(boxes.dtype))


def require_quality(
    predictions: Predictions, assignment: Assignment, *, branch: str, class_loss: Any
) -> None:
    """Check that the class loss can use soft targets of the assigner, and that the head has the
    quality branch of the config.

    Args:
        predictions: the output of the head.
        assignment: the output of the assigner.
        branch: ``MODEL.RETINA_PLUGIN.HEAD.QUALITY``.
        class_loss: see :class:`retina_plugin.losses.ClassLoss`.

    Raises:
        ValueError: one of these is not true.
    """
    if assignment.quality is not None and not getattr(class_loss, "takes_quality", False):
        raise ValueError(
            "MODEL.RETINA_PLUGIN.ASSIGNER.NAME: this assigner gives soft class targets, and the "
            f"class loss {type(class_loss).__name__} needs hard ones. Set "
            "MODEL.RETINA_PLUGIN.CLASS_LOSS.NAME to quality_focal or varifocal, or choose another "
            "assigner"
        )
    if branch != "none" and predictions.quality is None:
        raise ValueError(
            f"MODEL.RETINA_PLUGIN.HEAD.QUALITY is {branch}, but this head has no quality branch: "
            "set it to none, or set MODEL.RETINA_PLUGIN.HEAD.NAME to a head with this branch, such "
            "as RetinaHead"
        )


def box_weights(
    kind: str,
    positives: Positives,
    predictions: Predictions,
    targets: Tensor | None,
    *,
    all_ranks: bool,
) -> Tensor:
    """Return the weight of each positive's box loss, (P,) without gradient.

    The weights are divided by their mean over the positives, so they do not change the scale of the
    loss. As in MMDetection, the sum of the weights is taken as at least 1.

    Args:
        kind: "centerness" as in ATSS, "score" (the highest score of the anchor) as in GFL, or
            "target" (the soft class target) as in VarifocalNet and TOOD.
        positives: the rows of the box loss.
        predictions: the output of the head.
        targets: (P,), the soft class targets; None unless ``kind`` is "target".
        all_ranks: whether the mean is that of the positives of all ranks, as in training. Then
            every rank must call this function.
    """
    if kind == "target":
        assert targets is not None
        weights = targets
    elif kind == "centerness":
        weights = centerness(positives.anchors.boxes, positives.boxes)
    else:
        weights = positives.take(predictions.logits.detach()).float().amax(dim=-1).sigmoid()
    total = positives.sum(weights)
    totals = torch.stack([positives.count.to(total.dtype), total])
    totals = sum_over_ranks(totals) if all_ranks else totals
    return weights * (totals[0] / totals[1].clamp(min=1))
