"""The training losses, from the head's predictions for all anchors.

Axes: N images, R anchors per image, K classes, D numbers that encode a box, M boxes of one image,
P rows of :class:`retina_plugin.modeling.positives.Positives`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retina_plugin.config.errors import ConfigError
from retina_plugin.config.registry import Registry
from retina_plugin.losses import BoxLoss, rank_normalizer, update_normalizer
from retina_plugin.modeling.contracts import require_attribute, require_values
from retina_plugin.modeling.positives import Positives, collect_positives
from retina_plugin.modeling.quality import (
    box_weights,
    centerness,
    predicted_iou,
    require_quality,
)
from retina_plugin.modeling.structures import Anchors, Assignment, Predictions, Target
from retina_plugin.modeling.targets import PaddedTargets, arrange_targets

NODE = "MODEL.RETINA_PLUGIN.CRITERION.DenseCriterion"

CRITERIA = Registry(
    "criterion",
    node="MODEL.RETINA_PLUGIN.CRITERION",
    runtime_arguments=("num_classes", "box_coder", "class_loss", "box_loss"),
)


@CRITERIA.register(
    reads={
        "quality": "MODEL.RETINA_PLUGIN.HEAD.QUALITY",
        "box_weights": f"{NODE}.BOX_WEIGHTS",
        "box_loss_weight": f"{NODE}.BOX_LOSS_WEIGHT",
        "dfl_weight": f"{NODE}.DFL_WEIGHT",
    }
)
class DenseCriterion(nn.Module):
    """Computes a class loss on all anchors and a box loss on the positives.

    Both are divided by a moving average of the number of positives. If the head has a quality
    branch, a third loss is the binary cross entropy between the predicted quality and its target:
    the IoU of the decoded box with its ground-truth box, or the centreness of the anchor.

    If the box coder predicts distributions, there is a distribution focal loss too, with the
    weights of the box loss.

    A class loss with soft targets (``takes_quality``) gets those of the assigner. If the assigner
    gives none, the target of a positive is the IoU of its decoded box with its ground-truth box.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        box_coder: Any,
        class_loss: nn.Module,
        box_loss: BoxLoss,
        quality: str,
        box_weights: str,
        box_loss_weight: float,
        dfl_weight: float,
    ) -> None:
        """
        Args:
            num_classes: K, without background.
            box_coder: a part of :data:`retina_plugin.modeling.BOX_CODERS`.
            class_loss: (logits (N * R, K), labels (N * R,)) -> the sum of the losses. If its
                attribute ``takes_quality`` is True, it also gets ``quality`` (N * R,); see
                :class:`retina_plugin.losses.ClassLoss`.
            box_loss: see :class:`retina_plugin.losses.BoxLoss`.
            quality: the target of the head's quality branch, "iou" or "centerness"; "none" if the
                config has no such branch. If the head predicts a quality in spite of "none", its
                target is the IoU.
            box_weights: see :func:`retina_plugin.modeling.quality.box_weights`; "none" weights
                all positives equally.
            box_loss_weight: factor of the box loss.
            dfl_weight: factor of the distribution focal loss.

        Raises:
            PartError: ``box_loss.compares`` is neither "deltas" nor "boxes".
            ConfigError: the box coder predicts distributions, and the box loss compares deltas.
        """
        super().__init__()
        meaning = "what it compares"
        require_attribute("box loss", box_loss, "compares", "deltas", "boxes", meaning=meaning)
        self.num_classes, self.box_coder = num_classes, box_coder
        self.class_loss, self.box_loss = class_loss, box_loss
        self.quality, self.box_weights = quality, box_weights
        self.box_loss_weight, self.dfl_weight = box_loss_weight, dfl_weight
        self._takes_quality = bool(getattr(class_loss, "takes_quality", False))
        self._distribution_loss = getattr(box_coder, "distribution_loss", None)
        if self._distribution_loss is not None and box_loss.compares == "deltas":
            raise ConfigError(
                "MODEL.RETINA_PLUGIN.BOX_CODER.NAME: this box coder predicts distributions, and "
                "the box loss compares deltas. Set MODEL.RETINANET.BBOX_REG_LOSS_TYPE to giou, "
                "diou or ciou"
            )

    def forward(
        self,
        predictions: Predictions,
        anchors: Anchors,
        assignment: Assignment,
        targets: Sequence[Target],
        *,
        average_positives: Tensor,
    ) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Args:
            predictions: the output of the head.
            anchors: the anchors of one image.
            assignment: the output of the assigner.
            targets: the targets of N images; an image without boxes has M = 0.
            average_positives: scalar, the moving average of the number of positives. It is updated
                in place in training mode, but not in evaluation mode.

        Returns:
            Scalars "loss_cls" and "loss_box_reg"; "loss_quality" if the head has a quality branch,
            and "loss_dfl" if the box coder predicts distributions.

        Raises:
            ValueError: the class of a target is not in [0, K) (checked on the CPU only); the
                assigner gives soft class targets, and the class loss cannot use them; or the head
                lacks the quality branch of the config.
        """
        require_quality(predictions, assignment, branch=self.quality, class_loss=self.class_loss)
        targets = arrange_targets(targets, like=predictions.logits)
        positives = collect_positives(assignment.matches, anchors, targets)
        deltas = positives.take(predictions.deltas)
        soft = self._soft_targets(assignment, positives, deltas)
        arguments = predictions.logits.flatten(0, 1), self.labels(assignment, targets).flatten()
        if self._takes_quality and soft is not None:
            loss_cls = self.class_loss(*arguments, quality=positives.scatter(soft).flatten())
        else:
            loss_cls = self.class_loss(*arguments)
        require_values("class loss", self.class_loss, "the sum, a scalar", loss_cls)
        loss_box = self._box_loss(deltas, positives.anchors, positives.boxes)
        require_values("box loss", self.box_loss, "one value per box (P,)", loss_box, len(deltas))
        weights = self._box_weights(predictions, assignment, positives, soft)
        loss_box = loss_box * self.box_loss_weight * weights
        sums = {"loss_cls": loss_cls, "loss_box_reg": positives.sum(loss_box)}
        if self._distribution_loss is not None:
            loss = self._distribution_loss(deltas, positives.boxes, positives.anchors)
            sums["loss_dfl"] = positives.sum(loss * self.dfl_weight * weights)
        if predictions.quality is not None:
            predicted = positives.take(predictions.quality).float()
            target = self._quality_target(positives, deltas)
            loss = F.binary_cross_entropy_with_logits(predicted, target, reduction="none")
            sums["loss_quality"] = positives.sum(loss)
        normalizer = self._normalizer(average_positives, positives.count)
        return {name: loss / normalizer for name, loss in sums.items()}

    def labels(self, assignment: Assignment, targets: PaddedTargets | list[Target]) -> Tensor:
        """Return the class of each anchor, (N, R) int64: K for background, -1 for ignored."""
        if isinstance(targets, PaddedTargets):
            classes: Iterable[Tensor] = targets.labels
        else:
            classes = [target["labels"] for target in targets]
            self._check_classes(classes)
        rows = []
        for matches, image_classes in zip(assignment.matches, classes, strict=True):
            # BACKGROUND = -1 selects the last entry and IGNORED = -2 the second last
            others = [matches.new_full((1,), label) for label in (-1, self.num_classes)]
            rows.append(torch.cat([image_classes.long(), *others])[matches])
        return torch.stack(rows)

    def _check_classes(self, classes: Iterable[Tensor]) -> None:
        """Raise a ValueError if a class is not in [0, K)."""
        for number, image_classes in enumerate(classes):
            if ((image_classes < 0) | (image_classes >= self.num_classes)).any():
                raise ValueError(
                    f"targets of image {number} of the batch: expected classes from 0 to "
                    f"{self.num_classes - 1}, found {sorted(set(image_classes.tolist()))}"
                )

    def _soft_targets(
        self, assignment: Assignment, positives: Positives, deltas: Tensor
    ) -> Tensor | None:
        """Return the soft class targets of the positives, (P,); None if nothing uses them."""
        if not self._takes_quality and self.box_weights != "target":
            return None
        if assignment.quality is not None:
            return positives.take(assignment.quality)
        return predicted_iou(self.box_coder, deltas, positives)

    def _box_weights(
        self,
        predictions: Predictions,
        assignment: Assignment,
        positives: Positives,
        soft: Tensor | None,
    ) -> Tensor | float:
        """Return the weight of each positive's box loss, (P,) or one number."""
        weights: Tensor | float = 1.0
        if self.box_weights != "none":
            weights = box_weights(
                self.box_weights, positives, predictions, soft, all_ranks=self.training
            )
        if assignment.box_weights is not None:
            weights = weights * positives.take(assignment.box_weights)
        return weights

    def _quality_target(self, positives: Positives, deltas: Tensor) -> Tensor:
        """Return the targets of the quality branch, (P,) in 0..1 without gradient."""
        if self.quality == "centerness":
            return centerness(positives.anchors.boxes, positives.boxes).float()
        return predicted_iou(self.box_coder, deltas, positives)

    def _box_loss(self, deltas: Tensor, anchors: Anchors, gt_boxes: Tensor) -> Tensor:
        coder = self.box_coder
        if self.box_loss.compares == "deltas":
            encoded = coder.encode(gt_boxes, anchors)
            require_values("box coder", coder, "deltas (P, D)", encoded, *deltas.shape)
            return self.box_loss(deltas, encoded)
        boxes = coder.decode(deltas, anchors)
        require_values("box coder", coder, "boxes (P, 4)", boxes, len(deltas), 4)
        return self.box_loss(boxes, gt_boxes)

    def _normalizer(self, average: Tensor, num_positives: Tensor) -> Tensor:
        if not self.training:
            return rank_normalizer(average)
        return update_normalizer(average, num_positives)
