"""The registry of assigners, and the interface of an assigner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from retina_plugin.config.registry import Registry
from retina_plugin.modeling.structures import Anchors, Assignment, Predictions, Target

ASSIGNER_REGISTRY = Registry(
    "assigner", node="MODEL.RETINA_PLUGIN.ASSIGNER", runtime_arguments=("box_coder",)
)


class Assigner(Protocol):
    """The interface of an assigner, which assigns ground-truth boxes to the anchors of each image.

    An assigner has no trainable parameters.
    """

    def __call__(
        self, anchors: Anchors, targets: Sequence[Target], predictions: Predictions | None = None
    ) -> Assignment:
        """Assign the boxes of each image to the anchors.

        Args:
            anchors: all R anchors; they are the same for every image.
            targets: the targets of N images, each with "boxes" (M, 4) and "labels" (M,). M may be
                0; then no anchor of that image is positive.
            predictions: the output of the head, without gradients, for assigners that use it.
        """
