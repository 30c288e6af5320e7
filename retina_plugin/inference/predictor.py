"""Compute the detections of images as an evaluation does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from retina_plugin.data.samples import EvaluationDataset
from retina_plugin.engine.trained_model import TrainedModel
from retina_plugin.evaluation.detect import detect_samples
from retina_plugin.modeling.retinanet import evaluation_mode
from retina_plugin.modeling.structures import Detections


class Predictor:
    """A model with all that belongs to it: how images are resized, class names, thresholds.

    Attributes:
        model: a trained model, or an exported one with the same methods.
        cfg: its config.
        class_names: K names.
        score_thresholds: {class name: score}, chosen on validation images; classes may be missing.
    """

    def __init__(
        self,
        model: Any,
        *,
        cfg: Any,
        class_names: Sequence[str],
        score_thresholds: Mapping[str, float],
    ) -> None:
        self.model, self.cfg, self.class_names = model, cfg, list(class_names)
        self.score_thresholds = dict(score_thresholds)
        self._samples = EvaluationDataset.from_config(cfg, ())

    @classmethod
    def of_trained(cls, trained: TrainedModel) -> Predictor:
        """Return the predictor of a trained model."""
        return cls(
            trained.model,
            cfg=trained.cfg,
            class_names=trained.class_names,
            score_thresholds=trained.score_thresholds,
        )

    @property
    def least_score(self) -> float:
        """The model drops detections with lower scores."""
        least: float = self.model.postprocessor.score_threshold
        return least

    @torch.inference_mode()
    def predict(self, images: Sequence[Tensor]) -> list[Detections]:
        """Detect objects.

        Args:
            images: N tensors (3, H, W) uint8 RGB on the CPU; the sizes may differ, and N may be 0.
                Those with the same size at the network's input share a batch.

        Returns:
            N detections on the CPU, in pixels of the images, with all scores that an evaluation
            would use.
        """
        if not images:
            return []
        samples = [self._samples.of_image(image.permute(1, 2, 0).numpy()) for image in images]
        # without AMP of the caller, as evaluations
        with evaluation_mode(self.model), torch.autocast(self.model.device.type, enabled=False):
            found = detect_samples(self.model, samples).detections
        return [{name: value.cpu() for name, value in x.items()} for x in found]
