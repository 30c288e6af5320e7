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

from retina_plugin.config.registry import Registry
from retina_plugin.layers.boxes import elementwise_iou
from retina_plugin.losses import BoxLoss, rank_normalizer, update_normalizer
from retina_plugin.modeling.contracts import require_attribute, require_values
from retina_plugin.modeling.positives import collect_positives
from retina_plugin.modeling.structures import Anchors, Assignment, Predictions, Target
from retina_plugin.modeling.targets import PaddedTargets, arrange_targets

CRITERIA = Registry(
    "criterion",
    node="MODEL.RETINA_PLUGIN.CRITERION",
    runtime_arguments=("num_classes", "box_coder", "class_loss", "box_loss"),
)


@CRITERIA.register()
class DenseCriterion(nn.Module):
    """Computes a class loss on all anchors and a box loss on the positives.

    Both are divided by a moving average of the number of positives. If the head has a quality
    branch, a third loss is the binary cross entropy between the predicted quality and the IoU of
    the decoded box with its ground-truth box.
    """

    def __init__(
        self, *, num_classes: int, box_coder: Any, class_loss: nn.Module, box_loss: BoxLoss
    ) -> None:
        """
        Args:
            num_classes: K, without background.
            box_coder: a part of :data:`retina_plugin.modeling.BOX_CODERS`.
            class_loss: (logits (N * R, K), labels (N * R,)) -> the sum of the losses.
            box_loss: see :class:`retina_plugin.losses.BoxLoss`.

        Raises:
            PartError: if ``box_loss.compares`` is neither "deltas" nor "boxes".
        """
        super().__init__()
        meaning = "what it compares"
        require_attribute("box loss", box_loss, "compares", "deltas", "boxes", meaning=meaning)
        self.num_classes, self.box_coder = num_classes, box_coder
        self.class_loss, self.box_loss = class_loss, box_loss

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
            Scalars "loss_cls" and "loss_box_reg", and "loss_quality" if the head has that branch.

        Raises:
            ValueError: if the class of a target is not in [0, K) (checked on the CPU only), or the
                assignment has soft class targets.
        """
        targets = arrange_targets(targets, like=predictions.logits)
        labels = self.labels(assignment, targets)  # (N, R)
        loss_cls = self.class_loss(predictions.logits.flatten(0, 1), labels.flatten())
        require_values("class loss", self.class_loss, "the sum, a scalar", loss_cls)
        sums = {"loss_cls": loss_cls}
        positives = collect_positives(assignment.matches, anchors, targets)
        deltas = positives.take(predictions.deltas)
        loss_box = self._box_loss(deltas, positives.anchors, positives.boxes)
        require_values("box loss", self.box_loss, "one value per box (P,)", loss_box, len(deltas))
        if assignment.box_weights is not None:
            loss_box = loss_box * positives.take(assignment.box_weights)
        sums["loss_box_reg"] = positives.sum(loss_box)
        if predictions.quality is not None:
            quality = positives.take(predictions.quality)
            loss = self._quality_loss(quality, deltas, positives.anchors, positives.boxes)
            sums["loss_quality"] = positives.sum(loss)
        normalizer = self._normalizer(average_positives, positives.count)
        return {name: loss / normalizer for name, loss in sums.items()}

    def labels(self, assignment: Assignment, targets: PaddedTargets | list[Target]) -> Tensor:
        """Return the class of each anchor, (N, R) int64: K for background, -1 for ignored."""
        if assignment.quality is not None:
            raise ValueError(
                "MODEL.RETINA_PLUGIN.ASSIGNER gives soft class targets, but "
                "MODEL.RETINA_PLUGIN.CRITERION DenseCriterion needs hard ones: choose another "
                "assigner or criterion"
            )
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

    def _box_loss(self, deltas: Tensor, anchors: Anchors, gt_boxes: Tensor) -> Tensor:
        coder = self.box_coder
        if self.box_loss.compares == "deltas":
            encoded = coder.encode(gt_boxes, anchors)
            require_values("box coder", coder, "deltas (P, D)", encoded, *deltas.shape)
            return self.box_loss(deltas, encoded)
        boxes = coder.decode(deltas, anchors)
        require_values("box coder", coder, "boxes (P, 4)", boxes, len(deltas), 4)
        return self.box_loss(boxes, gt_boxes)

    def _quality_loss(
        self, quality: Tensor, deltas: Tensor, anchors: Anchors, gt_boxes: Tensor
    ) -> Tensor:
        boxes = self.box_coder.decode(deltas.detach(), anchors)
        target = elementwise_iou(boxes, gt_boxes.to(boxes.dtype))
        return F.binary_cross_entropy_with_logits(quality.float(), target, reduction="none")

    def _normalizer(self, average: Tensor, num_positives: Tensor) -> Tensor:
        if not self.training:
            return rank_normalizer(average)
        return update_normalizer(average, num_positives)
