"""The model: RetinaNet (Lin et al., arXiv 1708.02002), assembled from its parts.

Axes: N images, K classes, M boxes of one image, H, W.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from retina_plugin.layers.tracing import is_jit_tracing
from retina_plugin.losses import INITIAL, rank_normalizer
from retina_plugin.modeling.anchors import AnchorGenerator
from retina_plugin.modeling.assigners import Assigner
from retina_plugin.modeling.contracts import (
    require_assignment,
    require_losses,
    require_predictions,
)
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
from retina_plugin.modeling.views import Cut, Detect, View, Views


class RetinaNet(nn.Module):
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
        super().__init__()
        self.backbone, self.head, self.anchor_generator = backbone, head, anchor_generator
        self.in_features, self.inference_dtype = tuple(in_features), inference_dtype
        self.assigner, self.criterion, self.postprocessor = assigner, criterion, postprocessor
        self.preprocessor, self.views = preprocessor, views
        self._warned_about_unit_range = False
        self.register_buffer("loss_normalizer", torch.tensor(INITIAL))
        # Convolutions are faster in channels-last memory, and flattening the head's maps needs no
        # copy.
        self.to(memory_format=torch.channels_last)

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    @property
    def num_classes(self) -> int:
        """K, the number of classes without background."""
        head: Any = self.head
        num_classes: int = head.num_classes
        return num_classes

    @property
    def pixel_mean(self) -> Tensor:
        """(3, 1, 1), see :class:`Preprocessor`."""
        return self.preprocessor.pixel_mean

    @property
    def pixel_std(self) -> Tensor:
        """(3, 1, 1), see :class:`Preprocessor`."""
        return self.preprocessor.pixel_std

    @property
    def input_format(self) -> str:
        """ "BGR" or "RGB"."""
        return self.preprocessor.input_format

    @property
    def class_alpha(self) -> Tensor | None:
        """The class weights (K,) of the class loss; None if all classes have the same weight."""
        class_loss = getattr(self.criterion, "class_loss", None)
        alpha: Tensor | None = getattr(class_loss, "class_alpha", None)
        return alpha

    def preprocess(self, images: Sequence[Tensor]) -> tuple[Tensor, list[Size]]:
        """Return a batch, and (H, W) of each image; see :meth:`Preprocessor.forward`."""
        batch, sizes = self.preprocessor(images)
        return batch, sizes

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
            return self._detect_batch(images, image_sizes)
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
            num_images=len(images),
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

    def detect_images(self, images: Sequence[Tensor]) -> list[Detections]:
        """Detect objects in images in the format of :meth:`preprocess`.

        The detections of an image do not depend on the other images: only images with the same
        padded size share a batch. Padding changes the output of the network, because GroupNorm
        includes it in its statistics and biases make it non-zero.

        Args:
            images: N tensors (3, H, W); the sizes may differ, and N may be 0.

        Returns:
            N detections in the order of ``images``, in pixels of the network's input, clipped to
            each image.
        """
        found: dict[int, Detections] = {}
        for group in group_by_padded_size(sizes_of(images), self.preprocessor.size_divisibility):
            batch = self._detect_batch(*self.preprocess([images[index] for index in group]))
            found.update(zip(group, batch, strict=True))
        return [found[index] for index in range(len(images))]

    def detect_views(self, image_size: Size, cut: Cut, detect: Detect | None = None) -> Detections:
        """Detect the objects of an image in several views; ``self.views`` must not be None.

        Args:
            image_size: (height, width) of the image.
            cut: returns the pixels of a view in the format of :meth:`preprocess`.
            detect: detects the objects of a batch of views; None for :meth:`detect_images`.

        Returns:
            Detections in pixels of the image.
        """
        assert self.views is not None
        return self.views.detect(
            image_size, cut, detect or (lambda images, _: self.detect_images(images))
        )

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

    def _detect_batch(self, images: Tensor, sizes: Sequence[Size]) -> list[Detections]:
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

    @torch.inference_mode()
    def predict(self, images: Sequence[Tensor]) -> list[Detections]:
        """Detect objects in RGB images of any size, in evaluation mode.

        Args:
            images: N tensors (3, H, W), RGB, 0..255; the sizes may differ, and N may be 0.
                ``torch.from_numpy(array).permute(2, 0, 1)`` converts an (H, W, 3) array.

        Returns:
            N detections in pixels of the original images, highest score first. The detections of an
            image do not depend on the other images.

        Raises:
            ValueError: if an image has another shape.
            RuntimeError: in ``torch.jit.trace``, if the model resizes or has several views; see
                :func:`retina_plugin.modeling.preprocessing.resize`.
        """
        for image in images:
            if image.dim() != 3 or image.shape[0] != 3 or not image.numel():
                raise ValueError(
                    f"predict takes RGB images (3, H, W), found a tensor {tuple(image.shape)}"
                )
            self._warn_about_unit_range(image)
        with evaluation_mode(self):
            if self.views is None:
                return self._predict(images)
            return [self._predict_views(image) for image in images]

    def _warn_about_unit_range(self, image: Tensor) -> None:
        """Warn once per model about an image with values in 0..1, unless it is black."""
        if (
            self._warned_about_unit_range
            or not image.max() <= 1
            or image.min() < 0
            or not image.any()
        ):
            return
        self._warned_about_unit_range = True
        warnings.warn(
            "predict takes values 0..255, but all values of an image lie in 0..1, which is nearly "
            "black. Multiply the image by 255.",
            stacklevel=4,
        )

    def _predict(self, images: Sequence[Tensor]) -> list[Detections]:
        resized = [self.preprocessor.from_file(image) for image in images]
        sizes = zip(sizes_of(resized), sizes_of(images), strict=True)
        return [
            rescale_detections(found, network_size=network_size, image_size=image_size)
            for found, (network_size, image_size) in zip(
                self.detect_images(resized), sizes, strict=True
            )
        ]

    def _predict_views(self, image: Tensor) -> Detections:
        if is_jit_tracing():
            raise RuntimeError(
                "torch.jit.trace cannot record predict() of a model with several views, because "
                "their sizes depend on the image. Set MODEL.RETINA_PLUGIN.TEST.SLICE.SIZE 0 and "
                "TEST.AUG.ENABLED False"
            )
        return self.detect_views((image.shape[-2], image.shape[-1]), partial(self._cut, image))

    def _cut(self, image: Tensor, view: View) -> Tensor:
        top, left, height, width = view.window
        pixels = image[:, top : top + height, left : left + width]
        return view.flip(self.preprocessor.resize_to(pixels, view.size))


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode; on exit, restore the mode of every submodule."""
    if not model.training:  # do not call eval(), which clears the cached kernels
        yield
        return
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        model.train()
        for module, training in modes.items():
            module.training = training
