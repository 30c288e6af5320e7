"""Box losses of the positive anchors, as functions and as classes that a config chooses.

P is the number of positives and may be 0. The losses return one value per box; the caller sums
them.
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
    """Compute the smooth L1 loss (Fast R-CNN, arXiv 1504.08083, section 2.3).

    Args:
        prediction, target: tensors of the same shape.
        beta: the absolute difference, at least 0, at which the loss changes from quadratic to
            linear; 0 gives the L1 loss.
        reduction: "sum" or "none".
    """
    distance = (prediction - target).abs()
    if beta >= 1e-5:  # 0.5 * d^2 / beta is NaN at d = 0 when beta is 0
        distance = torch.where(distance < beta, 0.5 * distance**2 / beta, distance - 0.5 * beta)
    return distance.sum() if reduction == "sum" else distance


def giou_loss(boxes: Tensor, targets: Tensor) -> Tensor:
    """Compute the generalised IoU loss (arXiv 1902.09630) of (P, 4) boxes: (P,) in [0, 2].

    The loss is 1 - IoU, plus the share of the smallest enclosing box that the union does not cover.
    """
    iou, union, enclosing = _overlap(boxes, targets)
    hull = enclosing[:, 0] * enclosing[:, 1]
    return 1 - iou + (hull - union) / (hull + _eps(hull))


def diou_loss(boxes: Tensor, targets: Tensor) -> Tensor:
    """Compute the distance IoU loss (arXiv 1911.08287) of (P, 4) boxes: (P,) in [0, 2].

    The loss is 1 - IoU, plus the squared distance of the centres over the squared diagonal of the
    smallest enclosing box.
    """
    iou, distance = _overlap_and_distance(boxes, targets)
    return 1 - iou + distance


def ciou_loss(boxes: Tensor, targets: Tensor) -> Tensor:
    """Compute the complete IoU loss (arXiv 1911.08287, section 3.2) of (P, 4) boxes: (P,).

    The loss is the distance IoU loss plus a term for the difference of the aspect ratios.
    """
    iou, distance = _overlap_and_distance(boxes, targets)
    angle1, angle2 = (
        torch.atan2(b[:, 2] - b[:, 0], (b[:, 3] - b[:, 1]).clamp(min=_eps(b)))
        for b in (boxes, targets)
    )
    aspect = 4 / torch.pi**2 * (angle1 - angle2) ** 2
    with torch.no_grad():  # the weight (equation 11) is treated as a constant
        weight = aspect / (1 - iou + aspect + _eps(iou))
    return 1 - iou + distance + weight * aspect


def _overlap(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return IoU (P,), union area (P,) and the size (P, 2) of the smallest enclosing box."""
    shared = torch.cat(
        [torch.max(boxes1[:, :2], boxes2[:, :2]), torch.min(boxes1[:, 2:], boxes2[:, 2:])], dim=1
    )
    enclosing = torch.max(boxes1[:, 2:], boxes2[:, 2:]) - torch.min(boxes1[:, :2], boxes2[:, :2])
    union = area(boxes1) + area(boxes2) - area(shared)
    return area(shared) / (union + _eps(union)), union, enclosing


def _overlap_and_distance(boxes: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return IoU (P,) and the squared distance of the centres over the squared diagonal of the
    smallest enclosing box (P,)."""
    iou, _, enclosing = _overlap(boxes, targets)
    gap = (boxes[:, :2] + boxes[:, 2:] - targets[:, :2] - targets[:, 2:]) / 2
    return iou, (gap**2).sum(dim=1) / ((enclosing**2).sum(dim=1) + _eps(iou))


def _eps(x: Tensor) -> float:
    """Return a number that avoids division by zero for boxes without area."""
    return torch.finfo(x.dtype).eps


class BoxLoss:
    """Base class of box losses that a config chooses.

    Attributes:
        compares: "deltas" if the loss takes predicted deltas and encoded ground-truth boxes;
            "boxes" if it takes decoded boxes and ground-truth boxes.
    """

    compares = "boxes"

    def __call__(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return the loss (P,) of each positive from predictions and targets, which are deltas
        (P, D) or boxes (P, 4); P may be 0."""
        raise NotImplementedError


@BOX_LOSSES.register("smooth_l1", reads={"beta": "MODEL.RETINANET.SMOOTH_L1_LOSS_BETA"})
class SmoothL1Loss(BoxLoss):
    """:func:`smooth_l1_loss` of the deltas, summed over the D numbers of each box."""

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
