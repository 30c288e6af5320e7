"""RetinaNet (Lin et al., arXiv 1708.02002) from its parts: images and targets in, losses or
detections out. No host needed.

Axes: N images, K classes, M boxes of one image, H, W.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from retina_plugin.losses import INITIAL
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
from retina_plugin.modeling.structures import Anchors, Detections, Predictions, Target


class RetinaNet(nn.Module):
    """One-stage detector: backbone with pyramid, head on every level, losses on every anchor."""

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
        inference_dtype: torch.dtype,
    ) -> None:
        """
        Args:
            backbone: images -> maps by name; see
                :class:`retina_plugin.modeling.backbones.Backbone`.
            head: maps -> :class:`Predictions`; see
                :class:`retina_plugin.modeling.heads.RetinaHead`.
            in_features: maps that the head sees, finest first.
            anchor_generator: for these maps.
            assigner: anchors and targets -> which anchor learns which box.
            criterion: see :class:`retina_plugin.modeling.criterion.DenseCriterion`.
            postprocessor: predictions -> detections.
            preprocessor: images -> the network's input.
            inference_dtype: of the network's maps when it detects. float32 leaves the choice to the
                caller's autocast; bfloat16 or float16 are autocast here. Scores and boxes are
                float32 in any case.
        """
        super().__init__()
        self.backbone, self.head, self.anchor_generator = backbone, head, anchor_generator
        self.in_features, self.inference_dtype = tuple(in_features), inference_dtype
        self.assigner, self.criterion, self.postprocessor = assigner, criterion, postprocessor
        self.preprocessor = preprocessor
        self._warned_about_unit_range = False
        self.register_buffer("loss_normalizer", torch.tensor(INITIAL))
        # Convolutions run faster on N, H, W, C memory, and flattening the head's maps then copies
        # nothing.
        self.to(memory_format=torch.channels_last)

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    @property
    def num_classes(self) -> int:
        """K, without background."""
        return self.head.num_classes

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
        """(K,) weights of the classes in the class loss; None where all have the same."""
        return getattr(getattr(self.criterion, "class_loss", None), "class_alpha", None)

    def preprocess(self, images: Sequence[Tensor]) -> tuple[Tensor, list[Size]]:
        """Images of any size -> one batch and (H, W) of each; see :class:`Preprocessor`."""
        return self.preprocessor(images)

    def forward(
        self,
        images: Tensor,
        image_sizes: Sequence[Size],
        targets: Sequence[Target] | None = None,
    ) -> dict[str, Tensor] | list[Detections]:
        """Losses when targets are given, detections otherwise.

        Args:
            images: (N, 3, H, W) from :meth:`preprocess`.
            image_sizes: (height, width) of each image without padding.
            targets: N of them; an image without boxes has M = 0.

        Returns:
            Named losses, scalars: "loss_cls", "loss_box_reg" and others that the criterion adds; or
            N detections in pixels of the network's input, clipped to ``image_sizes``.
        """
        with self._autocast(detecting=targets is None):
            predictions, anchors = self.predict_dense(images)
        if targets is not None:
            return self.losses(predictions, anchors, targets)
        return [
            rescale_detections(found, network_size=size, image_size=size)
            for found, size in zip(
                self.postprocessor(predictions, anchors), image_sizes, strict=True
            )
        ]

    def predict_dense(self, images: Tensor) -> tuple[Predictions, Anchors]:
        """(N, 3, H, W) -> what the head says of every anchor, and the anchors."""
        maps = self.backbone(images)
        features = [maps[name] for name in self.in_features]
        anchors = self.anchor_generator([tuple(x.shape[-2:]) for x in features])
        predictions = self.head(features)
        require_predictions(
            self.head,
            predictions,
            anchors,
            num_images=len(images),
            num_classes=self.num_classes,
            box_coder=getattr(self.postprocessor, "box_coder", None),
        )
        return predictions, anchors

    def _autocast(self, *, detecting: bool) -> contextlib.AbstractContextManager:
        if not detecting or self.inference_dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.inference_dtype)

    def losses(
        self, predictions: Predictions, anchors: Anchors, targets: Sequence[Target]
    ) -> dict[str, Tensor]:
        """The losses of the criterion for what the assigner makes of the targets."""
        detached = Predictions(*(None if x is None else x.detach() for x in predictions))
        assignment = self.assigner(anchors, targets, detached)
        require_assignment(self.assigner, assignment, anchors, targets)
        losses = self.criterion(
            predictions, anchors, assignment, targets, average_positives=self.loss_normalizer
        )
        require_losses(self.criterion, losses)
        return losses

    def detect_images(self, images: Sequence[Tensor]) -> list[Detections]:
        """Detect in images as :meth:`preprocess` takes them, each as if it were alone.

        Padding changes what a network computes: norms take their statistics over it, and behind the
        first bias it is no longer zero. So only images that are padded to the same size share a
        batch.

        Args:
            images: N tensors (3, H, W), each of its own size; N may be 0.

        Returns:
            N detections in the order of ``images``, in pixels of the network's input, clipped to
            each image.
        """
        found: dict[int, Detections] = {}
        for group in group_by_padded_size(sizes_of(images), self.preprocessor.size_divisibility):
            batch = self._detect_batch(*self.preprocess([images[index] for index in group]))
            found.update(zip(group, batch, strict=True))
        return [found[index] for index in range(len(images))]

    def _detect_batch(self, images: Tensor, sizes: Sequence[Size]) -> list[Detections]:
        # not self(...): Detectron2's adapter has another forward
        return RetinaNet.forward(self, images, sizes)

    @torch.inference_mode()
    def predict(self, images: Sequence[Tensor]) -> list[Detections]:
        """Detect in images as they come from a file.

        Args:
            images: N tensors (3, H, W), RGB, 0..255, each of its own size; N may be 0.
                ``torch.from_numpy(array).permute(2, 0, 1)`` makes one from an (H, W, 3) array.

        Returns:
            N detections in pixels of the original images, best first; each image's are those that
            it has alone.

        Raises:
            ValueError: an image of another shape.
            RuntimeError: ``torch.jit.trace`` calls this with a model that resizes; see
                :func:`retina_plugin.modeling.preprocessing.resize`.
        """
        for image in images:
            if image.dim() != 3 or image.shape[0] != 3 or not image.numel():
                raise ValueError(
                    f"predict takes RGB images (3, H, W), found a tensor {tuple(image.shape)}"
                )
            self._warn_about_unit_range(image)
        with evaluation_mode(self):
            return self._predict(images)

    def _warn_about_unit_range(self, image: Tensor) -> None:
        """Warn, once for a model, of an image whose values all lie in 0..1; one that is black
        everywhere is not meant."""
        if (
            self._warned_about_unit_range
            or not image.max() <= 1
            or image.min() < 0
            or not image.any()
        ):
            return
        self._warned_about_unit_range = True
        warnings.warn(
            "predict takes values 0..255, and all values of an image lie in 0..1: nearly black to "
            "the network. Multiply it by 255.",
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


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode; on exit, restore the mode of every submodule."""
    if not model.training:  # eval() would drop what evaluation keeps of the parameters
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
