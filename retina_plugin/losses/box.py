"""Box losses on positive anchors, as functions and as parts that a config chooses.

P is the number of positives and may be 0. Reductions lie outside: a loss is one value per box.
"""

from __future__ import annotations

import torch
from torch import Tensor

from retina_plugin.config.registry import Registry
from retina_plugin.layers.boxes import area

BOX_LOSSES = Registry(
    "box loss",
    node="MODEL.RETINA_PLUGIN.BOX_LOSS",
    choice_key="MODEL.RETINANET.BBOX_REG_LOSS_TYPE",
)


def smooth_l1_loss(
    prediction: Tensor, target: Tensor, *, beta: float, reduction: str = "sum"
) -> Tensor:
    """Smooth L1 (Fast R-CNN, arXiv 1504.08083, section 2.3), with the corner at ``beta``.

    Args:
        prediction, target: any equal shape.
        beta: where the quadratic part ends and the linear part begins, at least 0; 0 is L1.
        reduction: "sum" or "none".
    """
    distance = (prediction - target).abs()
    if beta >= 1e-5:  # 0.5 * d^2 / beta is NaN at d = 0 when beta is 0
        distance = torch.where(distance < beta, 0.5 * distance**2 / beta, distance - 0.5 * beta)
    return distance.sum() if reduction == "sum" else distance


def giou_loss(boxes: Tensor, targets: Tensor) -> Tensor:
    """1 - generalised IoU of each pair, (P,) in [0, 2] (arXiv 1902.09630): what the smallest box
    around both leaves empty counts too."""
    iou, union, around = _overlap(boxes, targets)
    hull = around[:, 0] * around[:, 1]
    return 1 - iou + (hull - union) / (hull + _eps(hull))


def diou_loss(boxes: Tensor, targets: Tensor) -> Tensor:
    """1 - distance IoU of each pair, (P,) in [0, 2] (arXiv 1911.08287): the distance of the centres
    counts too."""
    iou, distance = _overlap_and_distance(boxes, targets)
    return 1 - iou + distance


def ciou_loss(boxes: Tensor, targets: Tensor) -> Tensor:
    """1 - complete IoU of each pair, (P,): distance IoU plus the difference of aspect ratios (arXiv
    1911.08287, section 3.2)."""
    iou, distance = _overlap_and_distance(boxes, targets)
    angle1, angle2 = (
        torch.atan2(b[:, 2] - b[:, 0], (b[:, 3] - b[:, 1]).clamp(min=_eps(b)))
        for b in (boxes, targets)
    )
    aspect = 4 / torch.pi**2 * (angle1 - angle2) ** 2
    with torch.no_grad():  # a weight, not a path for gradients, as in the paper's equation 11
        weight = aspect / (1 - iou + aspect + _eps(iou))
    return 1 - iou + distance + weight * aspect


def _overlap(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """IoU (P,), union (P,) and the sizes (P, 2) of the smallest box around each pair."""
    shared = torch.cat(
        [torch.max(boxes1[:, :2], boxes2[:, :2]), torch.min(boxes1[:, 2:], boxes2[:, 2:])], dim=1
    )
    around = torch.max(boxes1[:, 2:], boxes2[:, 2:]) - torch.min(boxes1[:, :2], boxes2[:, :2])
    union = area(boxes1) + area(boxes2) - area(shared)
    return area(shared) / (union + _eps(union)), union, around


def _overlap_and_distance(boxes: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """IoU (P,), and the distance of the centres over the diagonal of the smallest box around both,
    squared (P,)."""
    iou, _, around = _overlap(boxes, targets)
    gap = (boxes[:, :2] + boxes[:, 2:] - targets[:, :2] - targets[:, 2:]) / 2
    return iou, (gap**2).sum(dim=1) / ((around**2).sum(dim=1) + _eps(iou))


def _eps(x: Tensor) -> float:
    """Keeps the quotients of boxes without a size finite."""
    return torch.finfo(x.dtype).eps


class BoxLoss:
    """Base of box losses that a config chooses.

    Attributes:
        compares: "deltas", what the head predicts and what the box coder makes of the ground truth;
            or "boxes", decoded ones and the ground truth.
    """

    compares = "boxes"

    def __call__(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Predictions and targets of the positives, (P, D) deltas or (P, 4) boxes -> one value
        each, (P,); P may be 0."""
        raise NotImplementedError


@BOX_LOSSES.register("smooth_l1", reads={"beta": "MODEL.RETINANET.SMOOTH_L1_LOSS_BETA"})
class SmoothL1Loss(BoxLoss):
    """:func:`smooth_l1_loss` of the deltas, summed over the D of each box."""

    compares = "deltas"

    def __init__(self, *, beta: float) -> None:
        self.beta = beta

    def __call__(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return smooth_l1_loss(predictions, targets, beta=self.beta, reduction="none").sum(dim=-1)


@BOX_LOSSES.register("giou")
class GIoULoss(BoxLoss):
    """:func:`giou_loss` of the boxes."""

    def __call__(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return giou_loss(predictions, targets)


@BOX_LOSSES.register("diou")
class DIoULoss(BoxLoss):
    """:func:`diou_loss` of the boxes."""

    def __call__(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return diou_loss(predictions, targets)


@BOX_LOSSES.register("ciou")
class CIoULoss(BoxLoss):
    """:func:`ciou_loss` of the boxes."""

    def __call__(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return ciou_loss(predictions, targets)
