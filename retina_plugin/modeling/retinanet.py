"""The model: RetinaNet (Lin et al., arXiv 1708.02002), assembled from its parts.

Axes: N images, K classes, M boxes of one image, H, W.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from retina_plugin.losses import INITIAL, rank_normalizer
from retina_plugin.modeling.anchors import AnchorGenerator
from retina_plugin.modeling.assigners import Assigner
from retina_plugin.modeling.contracts import (
    require_assignment,
    require_losses,
    require_predictions,
)
from retina_plugin.modeling.image_detector import ImageDetector
from retina_plugin.modeling.image_detector import evaluation_mode as evaluation_mode
from retina_plugin.modeling.postprocessing import PostProcessor, rescale_detections
from retina_plugin.modeling.preprocessing import (
    Preprocessor,
    Size,
    group_by_padded_size,
    sizes_of,
)
from retina_plugin.modeling.structures import (
    Anchors,
    Assignment,
    Detections,
    ImageLosses,
    Measured,
    Predictions,
    Target,
)
from retina_plugin.modeling.views import Views


class RetinaNet(ImageDetector):
    """One-stage detector: a backbone with a feature pyramid, and a head on every level.

    It computes losses from images and targets, and detections from images.
    """

    loss_normalizer: Tensor

    def __init__(
        self,
        *,
        backbone: nn.Module,
        head: nn.Module,
        in_features: Sequence[str],
        anchor_generator: AnchorGenerator,
        assigner: Assigner,
        criterion: nn.Module,
        postprocessor: PostProcessor,
        preprocessor: Preprocessor,
        views: Views | None,
        inference_dtype: torch.dtype,
    ) -> None:
        """
        Args:
            backbone: computes feature maps by name; see
                :class:`retina_plugin.modeling.backbones.Backbone`.
            head: computes :class:`Predictions` from the maps, and has the number of classes as
                ``num_classes``; see :class:`retina_plugin.modeling.heads.RetinaHead`.
            in_features: names of the maps that the head uses, finest first.
            anchor_generator: generates the anchors of these maps.
            assigner: assigns ground-truth boxes to anchors.
            criterion: computes the losses; see
                :class:`retina_plugin.modeling.criterion.DenseCriterion`.
            postprocessor: computes detections from predictions.
            preprocessor: converts images to the network's input.
            views: the views of an image in which :meth:`predict` detects objects; None for the
                whole image only.
            inference_dtype: dtype of the network's maps in detection. bfloat16 and float16 turn
                autocast on; float32 leaves autocast to the caller. Scores and boxes are always
                float32.
        """
        super().__init__(preprocessor=preprocessor, views=views)
        self.backbone, self.head, self.anchor_generator = backbone, head, anchor_generator
        self.in_features, self.inference_dtype = tuple(in_features), inference_dtype
        self.assigner, self.criterion, self.postprocessor = assigner, criterion, postprocessor
        self.register_buffer("loss_normalizer", torch.tensor(INITIAL))
        # Convolutions are faster in channels-last memory, and flattening the head's maps needs no
        # copy.
        self.to(memory_format=torch.channels_last)

    @property
    def num_classes(self) -> int:
        """K, the number of classes without background."""
        head: Any = self.head
        num_classes: int = head.num_classes
        return num_classes

    @property
    def class_alpha(self) -> Tensor | None:
        """The class weights (K,) of the class loss; None if all classes have the same weight."""
        class_loss = getattr(self.criterion, "class_loss", None)
        alpha: Tensor | None = getattr(class_loss, "class_alpha", None)
        return alpha

    def forward(
        self,
        images: Tensor,
        image_sizes: Sequence[Size],
        targets: Sequence[Target] | None = None,
    ) -> dict[str, Tensor] | list[Detections]:
        """Return losses if targets are given, and detections otherwise.

        Args:
            images: (N, 3, H, W) from :meth:`preprocess`.
            image_sizes: (height, width) of each image without padding.
            targets: the targets of N images; an image without boxes has M = 0.

        Returns:
            Scalar losses by name: "loss_cls", "loss_box_reg" and others of the criterion; or N
            detections in pixels of the network's input, clipped to ``image_sizes``.
        """
        if targets is None:
            return self.detect_batch(images, image_sizes)
        return self.losses(*self.predict_dense(images), targets)

    def predict_dense(self, images: Tensor) -> tuple[Predictions, Anchors]:
        """Return the predictions for all anchors and the anchors, for images (N, 3, H, W)."""
        maps = self.backbone(images)
        features = [maps[name] for name in self.in_features]
        anchors = self.anchor_generator([tuple(x.shape[-2:]) for x in features])
        predictions: Predictions = self.head(features)
        require_predictions(
            self.head,
            predictions,
            anchors,
            num_images=images.shape[0],
            num_classes=self.num_classes,
            box_coder=getattr(self.postprocessor, "box_coder", None),
        )
        return predictions, anchors

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        """Return autocast with ``inference_dtype``; for float32, a context that does nothing."""
        if self.inference_dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.inference_dtype)

    def losses(
        self, predictions: Predictions, anchors: Anchors, targets: Sequence[Target]
    ) -> dict[str, Tensor]:
        """Assign the targets to the anchors and return the losses of the criterion."""
        assignment = self._assign(predictions, anchors, targets)
        return self._criterion_losses(
            predictions, anchors, assignment, targets, self.loss_normalizer
        )

    def _assign(
        self, predictions: Predictions, anchors: Anchors, targets: Sequence[Target]
    ) -> Assignment:
        quality = None if predictions.quality is None else predictions.quality.detach()
        detached = Predictions(predictions.logits.detach(), predictions.deltas.detach(), quality)
        assignment = self.assigner(anchors, targets, detached)
        require_assignment(self.assigner, assignment, anchors, targets)
        return assignment

    def _criterion_losses(
        self,
        predictions: Predictions,
        anchors: Anchors,
        assignment: Assignment,
        targets: Sequence[Target],
        average_positives: Tensor,
    ) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.criterion(
            predictions, anchors, assignment, targets, average_positives=average_positives
        )
        require_losses(self.criterion, losses)
        return losses

    def detect_and_measure(self, images: Sequence[Tensor], targets: Sequence[Target]) -> Measured:
        """Detect objects as :meth:`detect_images` and without the score threshold, and compute the
        losses of the same predictions.

        The network runs once. Call this in evaluation mode: then norms use their statistics, and
        the loss normaliser does not change.

        Args:
            images: as in :meth:`detect_images`.
            targets: the targets of N images, in pixels of ``images``.

        Returns:
            The detections and the losses of N images.
        """
        found: dict[int, tuple[Detections, ImageLosses, Detections]] = {}
        for group in group_by_padded_size(sizes_of(images), self.preprocessor.size_divisibility):
            batch, sizes = self.preprocess([images[index] for index in group])
            predictions, anchors = self._predict_batch(batch)
            detections = self._select(predictions, anchors, sizes)
            unfiltered = self._select(predictions, anchors, sizes, score_threshold=0.0)
            for row, index in enumerate(group):
                losses = self._measure(predictions.of_image(row), anchors, targets[index])
                found[index] = detections[row], losses, unfiltered[row]
        parts = [found[index] for index in range(len(images))]
        return Measured([a for a, _, _ in parts], [b for _, b, _ in parts], [c for *_, c in parts])

    def _measure(self, predictions: Predictions, anchors: Anchors, target: Target) -> ImageLosses:
        """Return the losses of one image without the loss normaliser."""
        assignment = self._assign(predictions, anchors, [target])
        one = torch.ones_like(self.loss_normalizer)
        losses = self._criterion_losses(predictions, anchors, assignment, [target], one)
        divisor = rank_normalizer(one)  # the criterion has divided the losses by this
        sums = {name: (loss * divisor).item() for name, loss in losses.items()}
        return ImageLosses(sums, int((assignment.matches >= 0).sum()))

    def detect_batch(self, images: Tensor, sizes: Sequence[Size]) -> list[Detections]:
        return self._select(*self._predict_batch(images), sizes)

    def _predict_batch(self, images: Tensor) -> tuple[Predictions, Anchors]:
        """Call :meth:`predict_dense` with ``inference_dtype``."""
        with self._autocast():
            return self.predict_dense(images)

    def _select(
        self,
        predictions: Predictions,
        anchors: Anchors,
        sizes: Sequence[Size],
        *,
        score_threshold: float | None = None,
    ) -> list[Detections]:
        selected = self.postprocessor(predictions, anchors, score_threshold=score_threshold)
        return [
            rescale_detections(found, network_size=size, image_size=size)
            for found, size in zip(selected, sizes, strict=True)
        ]
