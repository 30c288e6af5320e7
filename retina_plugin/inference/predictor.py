"""What computes detections: a trained model, or an exported file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from retina_plugin.data.samples import EvaluationDataset
from retina_plugin.engine.trained_model import TrainedModel
from retina_plugin.evaluation.detect import detect_samples
from retina_plugin.modeling.retinanet import evaluation_mode
from retina_plugin.modeling.structures import Detections


class Predictor(Protocol):
    """Computes detections with everything that belongs to the model: resizing, slices, suppression.

    Attributes:
        class_names: K names.
        score_thresholds: {class name: score}, chosen on validation images; classes may be missing.
        pixel_range: (low, high) of images with more than 8 bits; None if unknown.
        max_pixels: the largest number of pixels of an image file.
    """

    @property
    def class_names(self) -> Sequence[str]: ...

    @property
    def score_thresholds(self) -> Mapping[str, float]: ...

    @property
    def pixel_range(self) -> tuple[float, float] | None: ...

    @property
    def max_pixels(self) -> int: ...

    def predict(self, images: Sequence[Tensor]) -> list[Detections]:
        """Detect objects.

        Args:
            images: N tensors (3, H, W) uint8 RGB on the CPU; the sizes may differ, and N may be 0.

        Returns:
            N detections in pixels of the images, without a score threshold of the classes.
        """
        ...


class ModelPredictor:
    """A :class:`Predictor` that computes what an evaluation of the model computes."""

    def __init__(self, trained: TrainedModel) -> None:
        node: Any = trained.cfg.MODEL.RETINA_PLUGIN.INPUT
        self.model = trained.model
        self.class_names: Sequence[str] = trained.class_names
        self.score_thresholds: Mapping[str, float] = trained.score_thresholds
        self.pixel_range: tuple[float, float] | None = (
            None if node.PIXEL_RANGE == "auto" else tuple(node.PIXEL_RANGE)
        )
        self.max_pixels: int = node.MAX_PIXELS
        self._samples = EvaluationDataset.from_config(trained.cfg, ())

    @torch.inference_mode()
    def predict(self, images: Sequence[Tensor]) -> list[Detections]:
        """See :meth:`Predictor.predict`."""
        if not images:
            return []
        samples = [self._samples.of_image(image.permute(1, 2, 0).numpy()) for image in images]
        # without AMP of the caller, as evaluations
        with evaluation_mode(self.model), torch.autocast(self.model.device.type, enabled=False):
            found, _ = detect_samples(self.model, samples)
        return [{name: value.cpu() for name, value in x.items()} for x in found]
