"""RetinaNet (Lin et al., arXiv 1708.02002) from its parts: images and targets in, losses or
detections out. No host needed.

Axes: N images, L levels, A anchors per cell, R anchors per image (all levels), K classes, M boxes
of one image, P positives, H, W.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retina_plugin.losses import (
    BOX_LOSSES,
    CLASS_LOSSES,
    INITIAL,
    rank_normalizer,
    update_normalizer,
)
from retina_plugin.modeling import postprocessing as dense
from retina_plugin.modeling.anchors import AnchorGenerator
from retina_plugin.modeling.assigners.max_iou import match_anchors
from retina_plugin.modeling.postprocessing import Detections

# "boxes" (M, 4) XYXY pixels of the network's input, "labels" (M,) int64 in [0, K)
Target = dict[str, Tensor]


class RetinaNet(nn.Module):
    """One-stage detector: backbone with pyramid, head on every level, focal loss on every
    anchor."""

    def __init__(
        self,
        *,
        backbone: nn.Module,
        head: nn.Module,
        in_features: Sequence[str],
        anchor_generator: AnchorGenerator,
        num_classes: int,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        input_format: str,
        match_thresholds: tuple[float, float],
        class_loss: str,
        focal_alpha: float | Sequence[float] | None,
        focal_gamma: float,
        box_loss: str,
        smooth_l1_beta: float,
        box_weights: Sequence[float],
        score_threshold: float,
        topk_candidates: int,
        nms_threshold: float,
        max_detections: int,
        min_size: int,
        max_size: int,
        inference_dtype: torch.dtype,
    ) -> None:
        """
        Args:
            backbone: images -> maps by name; see
                :class:`retina_plugin.modeling.backbones.Backbone`.
            head: maps -> logits and deltas of each level; see
                :class:`retina_plugin.modeling.heads.retina_head.RetinaHead`.
            in_features: maps that the head sees, finest first.
            anchor_generator: for these maps.
            num_classes: K, without background.
            pixel_mean, pixel_std: for each channel, in 0..255, in the order of ``input_format``.
            input_format: "BGR" or "RGB", the order of channels that the backbone expects.
            match_thresholds: see :func:`retina_plugin.modeling.assigners.max_iou.match_anchors`.
            class_loss: a name of :data:`retina_plugin.losses.CLASS_LOSSES`.
            focal_alpha, focal_gamma: see :func:`retina_plugin.losses.sigmoid_focal_loss`; weights
                may be a list for the K classes. None makes a model that detects only.
            box_loss: a name of :data:`retina_plugin.losses.BOX_LOSSES`.
            smooth_l1_beta: see :func:`retina_plugin.losses.smooth_l1_loss`.
            box_weights: see :func:`retina_plugin.layers.boxes.encode`.
            score_threshold, topk_candidates, nms_threshold, max_detections: see
                :func:`retina_plugin.modeling.postprocessing.detect`.
            min_size, max_size: :meth:`predict` resizes the shorter side to ``min_size`` and keeps
                the longer within ``max_size``; 0 as ``min_size`` keeps the size.
            inference_dtype: of the network's maps when it detects. float32 leaves the choice to the
                caller's autocast; bfloat16 or float16 are autocast here. Scores and boxes are
                float32 in any case.

        Raises:
            ValueError: an unknown box loss.
            KeyError: an unknown class loss.
        """
        super().__init__()
        if box_loss not in BOX_LOSSES:
            raise ValueError(
                f"MODEL.RETINANET.BBOX_REG_LOSS_TYPE must be one of {sorted(BOX_LOSSES)}, found "
                f"{box_loss!r}"
            )
        self.backbone, self.head, self.anchor_generator = backbone, head, anchor_generator
        self.in_features, self.num_classes, self.input_format = (
            tuple(in_features),
            num_classes,
            input_format,
        )
        self.match_thresholds, self.box_weights = match_thresholds, tuple(box_weights)
        self.class_loss, self.focal_gamma = CLASS_LOSSES.get(class_loss), focal_gamma
        self.focal_alpha = None if isinstance(focal_alpha, Sequence) else focal_alpha
        per_class = torch.tensor(focal_alpha) if isinstance(focal_alpha, Sequence) else None
        # Detectron2's RetinaNet has none
        self.register_buffer("class_alpha", per_class, persistent=False)
        self.box_loss, self.smooth_l1_beta = BOX_LOSSES[box_loss], smooth_l1_beta
        self.score_threshold, self.topk_candidates = score_threshold, topk_candidates
        self.nms_threshold, self.max_detections = nms_threshold, max_detections
        self.min_size, self.max_size, self.inference_dtype = min_size, max_size, inference_dtype
        self._warned_of_unit_range = False
        self.register_buffer(
            "pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False
        )
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)
        self.register_buffer("loss_normalizer", torch.tensor(INITIAL))
        # Convolutions run faster on N, H, W, C memory, and flattening the head's maps then copies
        # nothing.
        self.to(memory_format=torch.channels_last)

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def preprocess(self, images: Sequence[Tensor]) -> tuple[Tensor, list[tuple[int, int]]]:
        """Normalise images and pad them, right and below, to one size that the backbone divides.

        Args:
            images: N tensors (3, H, W), each of its own size, 0..255, channels in the order of
                ``input_format``.

        Returns:
            The batch (N, 3, H', W') and (H, W) of each image.
        """
        sizes = sizes_of(images)
        shape = (
            len(images),
            len(self.pixel_mean),
            *padded_size(sizes, self.backbone.size_divisibility),
        )
        batch = torch.zeros(shape, dtype=self.pixel_mean.dtype, device=self.device).to(
            memory_format=torch.channels_last
        )
        for index, (image, (h, w)) in enumerate(zip(images, sizes, strict=True)):
            batch[index, :, :h, :w] = (image.to(self.device) - self.pixel_mean) / self.pixel_std
        return batch, sizes

    def forward(
        self,
        images: Tensor,
        image_sizes: Sequence[tuple[int, int]],
        targets: Sequence[Target] | None = None,
    ) -> dict[str, Tensor] | list[Detections]:
        """Losses when targets are given, detections otherwise.

        Args:
            images: (N, 3, H, W) from :meth:`preprocess`.
            image_sizes: (height, width) of each image without padding.
            targets: N of them; an image without boxes has M = 0.

        Returns:
            {"loss_cls", "loss_box_reg"}, scalars; or N detections in pixels of the network's input,
            clipped to ``image_sizes``.
        """
        with self._precision(detecting=targets is None):
            maps = self.backbone(images)
            features = [maps[name] for name in self.in_features]
            logits, deltas = self.head(features)
        anchors = self.anchor_generator([tuple(x.shape[-2:]) for x in features])
        # L of (N, H * W * A, K)
        logits = [dense.flatten_level(x, self.num_classes) for x in logits]
        deltas = [dense.flatten_level(x, 4) for x in deltas]
        if targets is not None:
            return self.losses(
                torch.cat(anchors), torch.cat(logits, dim=1), torch.cat(deltas, dim=1), targets
            )
        return [
            dense.to_image(found, network_size=size, image_size=size)
            for found, size in zip(self.detect(anchors, logits, deltas), image_sizes, strict=True)
        ]

    def _precision(self, *, detecting: bool) -> contextlib.AbstractContextManager:
        if not detecting or self.inference_dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.inference_dtype)

    def losses(
        self, anchors: Tensor, logits: Tensor, deltas: Tensor, targets: Sequence[Target]
    ) -> dict[str, Tensor]:
        """anchors (R, 4), logits (N, R, K), deltas (N, R, 4), N targets -> the two losses over the
        average number of positives.

        Training moves that average; evaluation, of a validation loss for instance, divides by it as
        it is.
        """
        labels, matches = self.label(anchors, targets)  # (N, R) each
        # (P,) each
        image, anchor = ((labels >= 0) & (labels < self.num_classes)).nonzero(as_tuple=True)
        gt_boxes = [
            target["boxes"][matches[i, anchor[image == i]]] for i, target in enumerate(targets)
        ]
        alpha = self.focal_alpha if self.class_alpha is None else self.class_alpha
        if alpha is None:
            raise ValueError(
                "this model has no weights of classes to learn with: "
                "MODEL.RETINANET.FOCAL_LOSS_ALPHA was auto, which "
                "retina_plugin.engine.checks.resolve_alpha(cfg, ...) turns into numbers before the "
                "model "
                "is built"
            )
        loss_cls = self.class_loss(
            logits.flatten(0, 1), labels.flatten(), alpha=alpha, gamma=self.focal_gamma
        )
        loss_box = self.box_loss(
            deltas[image, anchor],
            anchors[anchor],
            torch.cat(gt_boxes),
            weights=self.box_weights,
            beta=self.smooth_l1_beta,
        )
        normalizer = self._normalizer(len(anchor))
        return {"loss_cls": loss_cls / normalizer, "loss_box_reg": loss_box / normalizer}

    def _normalizer(self, num_positives: int) -> Tensor:
        if not self.training:
            return rank_normalizer(self.loss_normalizer)
        return update_normalizer(
            self.loss_normalizer, torch.full_like(self.loss_normalizer, num_positives)
        )

    def label(self, anchors: Tensor, targets: Sequence[Target]) -> tuple[Tensor, Tensor]:
        """Match the anchors to each image's boxes: labels and matches, (N, R) each; see
        :func:`retina_plugin.modeling.assigners.max_iou.match_anchors`.

        Raises:
            ValueError: a target whose class is none of the model's, which would be learnt as
                background; seen on the CPU.
        """
        for number, classes in enumerate(t["labels"] for t in targets):
            if (
                classes.device.type == "cpu"
                and ((classes < 0) | (classes >= self.num_classes)).any()
            ):
                raise ValueError(
                    f"targets of image {number} of the batch: expected classes from 0 to "
                    f"{self.num_classes - 1}, "
                    f"found {sorted(set(classes.tolist()))}"
                )
        pairs = [
            match_anchors(
                anchors,
                t["boxes"],
                t["labels"],
                num_classes=self.num_classes,
                thresholds=self.match_thresholds,
            )
            for t in targets
        ]
        labels, matches = zip(*pairs, strict=True)
        return torch.stack(labels), torch.stack(matches)

    def detect(
        self, anchors: Sequence[Tensor], logits: Sequence[Tensor], deltas: Sequence[Tensor]
    ) -> list[Detections]:
        """Detections of each image from its levels, in pixels of the network's input, not
        clipped."""
        return dense.detect(
            anchors,
            logits,
            deltas,
            score_threshold=self.score_threshold,
            topk=self.topk_candidates,
            nms_threshold=self.nms_threshold,
            max_detections=self.max_detections,
            box_weights=self.box_weights,
        )

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
        for group in group_by_padded_size(sizes_of(images), self.backbone.size_divisibility):
            batch = self._detect_batch(*self.preprocess([images[index] for index in group]))
            found.update(zip(group, batch, strict=True))
        return [found[index] for index in range(len(images))]

    def _detect_batch(self, images: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        return self(images, sizes)

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
        """
        for image in images:
            if image.dim() != 3 or image.shape[0] != 3 or not image.numel():
                raise ValueError(
                    f"predict takes RGB images (3, H, W), found a tensor {tuple(image.shape)}"
                )
            self._warn_of_unit_range(image)
        with evaluating(self):
            return self._predict(images)

    def _warn_of_unit_range(self, image: Tensor) -> None:
        """Warn, once for a model, of an image whose values all lie in 0..1; one that is black
        everywhere is not meant."""
        if self._warned_of_unit_range or not image.max() <= 1 or image.min() < 0 or not image.any():
            return
        self._warned_of_unit_range = True
        warnings.warn(
            "predict takes values 0..255, and all values of an image lie in 0..1: nearly black to "
            "the network. Multiply it by 255.",
            stacklevel=4,
        )

    def _predict(self, images: Sequence[Tensor]) -> list[Detections]:
        ordered = [image.flip(0) if self.input_format == "BGR" else image for image in images]
        resized = [resize(image, self.min_size, self.max_size) for image in ordered]
        sizes = zip(sizes_of(resized), sizes_of(images), strict=True)
        return [
            dense.to_image(found, network_size=network_size, image_size=image_size)
            for found, (network_size, image_size) in zip(
                self.detect_images(resized), sizes, strict=True
            )
        ]


def sizes_of(images: Sequence[Tensor]) -> list[tuple[int, int]]:
    """(height, width) of each image (3, H, W); numbers, or tensors while a trace is recorded."""
    return [(image.shape[-2], image.shape[-1]) for image in images]


def padded_size(sizes: Sequence[tuple[int, int]], divisor: int) -> tuple[int, int]:
    """The smallest (height, width) that holds images of all ``sizes`` and that ``divisor`` divides;
    0 divides everything."""
    height, width = (
        -(-max(side) // max(divisor, 1)) * max(divisor, 1) for side in zip(*sizes, strict=True)
    )
    return height, width


def group_by_padded_size(sizes: Sequence[tuple[int, int]], divisor: int) -> list[list[int]]:
    """Indices of images that :func:`padded_size` gives the same size alone, so that no batch pads
    one further.

    While a trace is recorded every image is a group of its own: the images of a later call have
    other sizes.
    """
    groups: dict[Any, list[int]] = {}
    for index, size in enumerate(sizes):
        key = index if torch.jit.is_tracing() else padded_size([size], divisor)
        groups.setdefault(key, []).append(index)
    return list(groups.values())


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; then every module has its own mode again, also where a part was
    evaluating in a model that trains."""
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


def resized_shape(height: int, width: int, min_size: int, max_size: int) -> tuple[int, int]:
    """Height and width after resizing as Detectron2 does: shorter side to ``min_size`` unless the
    longer would pass ``max_size``."""
    if min_size == 0:
        return height, width
    scale = min_size / min(height, width)
    shorter, longer = float(min_size), max(height, width) * scale
    # scaled a second time, not anew: the two differ by rounding, and by a pixel now and then
    if longer > max_size:
        shorter, longer = shorter * (max_size / longer), longer * (max_size / longer)
    # of 3 x 60000 pixels, nothing would remain
    sides = max(int(shorter + 0.5), 1), max(int(longer + 0.5), 1)
    return sides if height <= width else sides[::-1]


def resize(image: Tensor, min_size: int, max_size: int) -> Tensor:
    """Resize (3, H, W) bilinearly, smoothing when it shrinks, to :func:`resized_shape`."""
    height, width = image.shape[-2:]
    shape = resized_shape(height, width, min_size, max_size)
    if shape == (height, width):
        return image
    return F.interpolate(
        image[None].float(), size=shape, mode="bilinear", antialias=True, align_corners=False
    )[0]
