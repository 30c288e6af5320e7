"""An exported file as a detector with the interface of the model.

Axes: N images, R anchors per image, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from retina_plugin.export.description import Description, read_description
from retina_plugin.export.errors import ExportError
from retina_plugin.export.network import BOXES, DETECTIONS, RAW
from retina_plugin.export.session import Session
from retina_plugin.modeling.box_coders import BOX_CODERS
from retina_plugin.modeling.build import build_postprocessor, build_preprocessor
from retina_plugin.modeling.build_views import build_views
from retina_plugin.modeling.image_detector import ImageDetector
from retina_plugin.modeling.postprocessing import rescale_detections
from retina_plugin.modeling.preprocessing import Size, resize_to, sizes_of
from retina_plugin.modeling.structures import Anchors, Detections, Predictions

OUTPUTS = {
    RAW: ("logits", "deltas", "anchors"),
    BOXES: ("boxes", "scores"),
    DETECTIONS: ("num_detections", "detection_boxes", "detection_scores", "detection_classes"),
}


class DecodedBoxes:
    """The box coder of a network that decodes its boxes itself."""

    dim = 4

    def decode(self, deltas: Tensor, anchors: Anchors) -> Tensor:
        """Return ``deltas``, which are boxes (P, 4) already."""
        return deltas


class ExportedDetector(ImageDetector):
    """Detects objects with an exported network; preprocessing and post-processing are those of the
    model. :meth:`predict` returns the detections of ``RetinaNet.predict``.

    A network of fixed size gets smaller images padded, and larger images scaled down to fit.

    Attributes:
        description: the metadata of the file.
        class_names: K names.
        cfg: a config with the values that decide how images are read and processed.
        path: the file.
    """

    def __init__(self, session: Session, path: str) -> None:
        """
        Raises:
            ExportError: the metadata of the file cannot be used.
            ConfigError, ImportError: see :meth:`Description.build_config`.
        """
        description: Description = read_description(session.metadata, path)
        cfg = description.build_config()
        coder = BOX_CODERS.build(cfg) if description.outputs == RAW else DecodedBoxes()
        postprocessor = build_postprocessor(cfg, coder)
        super().__init__(
            preprocessor=build_preprocessor(cfg, description.stride),
            views=build_views(cfg, postprocessor.suppressor),
        )
        self.session, self.path, self.cfg, self.description = session, path, cfg, description
        self.postprocessor, self.class_names = postprocessor, description.class_names
        self.eval()

    @property
    def num_classes(self) -> int:
        """K, the number of classes without background."""
        return len(self.class_names)

    @property
    def score_thresholds(self) -> dict[str, float]:
        """{class name: score}, chosen on validation images; classes may be missing."""
        return self.description.score_thresholds

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata of the file."""
        return dict(self.session.metadata)

    def detect_images(self, images: Sequence[Tensor]) -> list[Detections]:
        """See :meth:`ImageDetector.detect_images`."""
        if self.description.size is None:
            return super().detect_images(images)
        height, width = self.description.size
        fitted = [resize_to(image, _fitted(image, height, width)) for image in images]
        pairs = zip(super().detect_images(fitted), sizes_of(fitted), sizes_of(images), strict=True)
        return [
            rescale_detections(found, network_size=inside, image_size=size)
            for found, inside, size in pairs
        ]

    @torch.inference_mode()
    def detect_batch(self, images: Tensor, sizes: Sequence[Size]) -> list[Detections]:
        """See :meth:`ImageDetector.detect_batch`."""
        found = self.run(images)
        if self.description.outputs == DETECTIONS:
            detections = _split_images(found)
        else:
            detections = self.postprocessor(*self._predictions(found, images))
        return [
            rescale_detections(one, network_size=size, image_size=size)
            for one, size in zip(detections, sizes, strict=True)
        ]

    def run(self, images: Tensor) -> dict[str, Tensor]:
        """Return the outputs of the network by name.

        Args:
            images: (N, 3, H, W) from :meth:`preprocess`. H and W must be multiples of the stride;
                a network of fixed size gets them padded with 0 at the right and the bottom.

        Raises:
            ExportError: the size is no multiple of the stride or larger than the fixed size, or the
                outputs are not those of the metadata.
        """
        images = self._padded(images)
        found = self.session.run(images.contiguous())
        missing = [name for name in OUTPUTS[self.description.outputs] if name not in found]
        if missing:
            raise ExportError(
                f"{self.path}: expected the outputs {', '.join(OUTPUTS[self.description.outputs])}"
                f", found {', '.join(found)}: the metadata are those of another network"
            )
        return found

    def _padded(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        stride, size = self.description.stride, self.description.size
        if size is None and (height % stride or width % stride):
            raise ExportError(
                f"{self.path}: height and width must be multiples of {stride}, found "
                f"{height}x{width}"
            )
        if size is None:
            return images
        if height > size[0] or width > size[1]:
            raise ExportError(
                f"{self.path} takes images of {size[0]}x{size[1]}, found {height}x{width}"
            )
        return F.pad(images, (0, size[1] - width, 0, size[0] - height))

    def _predictions(self, found: dict[str, Tensor], images: Tensor) -> tuple[Predictions, Anchors]:
        """Convert outputs to the predictions and anchors that the post-processor takes."""
        quality = found.get("quality")
        if self.description.outputs == RAW:
            predictions = Predictions(found["logits"], found["deltas"], quality)
            boxes = found["anchors"]
        else:
            logits = found["scores"].logit()
            predictions = Predictions(
                logits, found["boxes"], None if quality is None else quality.logit()
            )
            boxes = found["boxes"][0]
        anchors = self._anchors(boxes, self.description.size or images.shape[-2:])
        expected = (len(images), sum(anchors.counts), self.num_classes)
        if tuple(predictions.logits.shape) != expected:
            raise ExportError(
                f"{self.path}: expected scores of the shape {expected} (images, anchors, classes), "
                f"found {tuple(predictions.logits.shape)}: the metadata are those of another "
                "network"
            )
        return predictions, anchors

    def _anchors(self, boxes: Tensor, size: Any) -> Anchors:
        strides, per_cell = self.description.strides, self.description.anchors_per_cell
        grids = tuple((-(-size[0] // s), -(-size[1] // s)) for s in strides)
        counts = tuple(rows * columns * per_cell for rows, columns in grids)
        return Anchors(boxes, counts, tuple(strides), per_cell, grid_sizes=grids)


def _fitted(image: Tensor, height: int, width: int) -> Size:
    """Return the size of an image that is scaled down, if necessary, to fit into height x width."""
    rows, columns = image.shape[-2:]
    scale = min(height / rows, width / columns, 1.0)
    return max(int(rows * scale), 1), max(int(columns * scale), 1)


def _split_images(found: dict[str, Tensor]) -> list[Detections]:
    """Return the detections of each image, without the empty rows."""
    counts = found["num_detections"].flatten().tolist()
    return [
        {
            "boxes": found["detection_boxes"][image, :count],
            "scores": found["detection_scores"][image, :count],
            "labels": found["detection_classes"][image, :count].long(),
        }
        for image, count in enumerate(counts)
    ]
