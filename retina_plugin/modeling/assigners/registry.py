"""What every assigner is, and the registry of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from retina_plugin.config.registry import Registry
from retina_plugin.modeling.structures import Anchors, Assignment, Predictions, Target

ASSIGNER_REGISTRY = Registry("assigner", node="MODEL.RETINA_PLUGIN.ASSIGNER")


class Assigner(Protocol):
    """Assigns anchors to ground-truth boxes, image by image. It has no parameters."""

    def __call__(
        self, anchors: Anchors, targets: Sequence[Target], predictions: Predictions | None = None
    ) -> Assignment:
        """
        Args:
            anchors: R of them, the same for every image of the batch.
            targets: N of them, each with "boxes" (M, 4) and "labels" (M,); M may be 0, then no
                anchor of that image is positive.
            predictions: of the head, without gradients, for assigners that look at them.
        """
