"""The positive anchors of a batch, for the losses that are computed on positives only.

There are two implementations: :class:`GatheredPositives` is fast on the CPU, and
:class:`MaskedPositives` has fixed shapes, for accelerators and traced code.

Axes: N images, R anchors per image, M boxes of one image, P rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from retina_plugin.modeling.structures import Anchors, Target
from retina_plugin.modeling.targets import PaddedTargets


class Positives(Protocol):
    """The P rows for which the losses of positives are computed.

    Attributes:
        anchors: the anchors of the P rows.
        boxes: (P, 4) XYXY pixels, the ground-truth box of each row.
        count: scalar tensor, the number of positives.
    """

    anchors: Anchors
    boxes: Tensor
    count: Tensor

    def take(self, values: Tensor) -> Tensor:
        """Select the values of the rows: (N, R, ...) of all anchors -> (P, ...)."""

    def scatter(self, values: Tensor) -> Tensor:
        """Scatter values (P,) of the rows to all anchors, (N, R); other anchors get 0."""

    def sum(self, losses: Tensor) -> Tensor:
        """Sum losses (P,) over the positives; the sum is 0 if there are none."""


class GatheredPositives:
    """Positives as rows that are selected by index; P is the number of positives.

    See :class:`Positives`.
    """

    def __init__(self, matches: Tensor, anchors: Anchors, targets: Sequence[Target]) -> None:
        """
        Args:
            matches: (N, R), see :class:`retina_plugin.modeling.structures.Assignment`.
            anchors: the R anchors of an image.
            targets: the targets of the N images.
        """
        self.image, self.anchor = (matches >= 0).nonzero(as_tuple=True)  # (P,) each
        shape, matches = matches.shape, matches[self.image, self.anchor]
        # image by image, because images have different numbers of boxes
        self.boxes = torch.cat(
            [t["boxes"][matches[self.image == i]] for i, t in enumerate(targets)]
        )
        self.anchors = anchors.at(self.anchor)
        self.count = matches.new_tensor(len(matches))
        self.shape = shape

    def take(self, values: Tensor) -> Tensor:
        return values[self.image, self.anchor]

    def scatter(self, values: Tensor) -> Tensor:
        return values.new_zeros(self.shape).index_put_((self.image, self.anchor), values)

    def sum(self, losses: Tensor) -> Tensor:
        return losses.sum()


class MaskedPositives:
    """Positives as a mask over all anchors of the batch; P is N * R.

    For rows that are not positive, ``boxes`` contains the anchor and ``take`` returns zeros, so
    that every loss is finite; ``sum`` leaves these rows out, so they have no gradient. See
    :class:`Positives`.
    """

    def __init__(self, matches: Tensor, anchors: Anchors, targets: PaddedTargets) -> None:
        """See :class:`GatheredPositives`."""
        n, r = self.shape = matches.shape
        self.mask = (matches >= 0).flatten()
        self.anchors = anchors.at(torch.arange(r, device=matches.device).repeat(n))
        # rows that are not positive get index -1, which selects this box, even if M is 0
        no_box = targets.boxes.new_zeros(1, 4)
        boxes = torch.cat(
            [
                torch.cat([image_boxes, no_box])[index.clamp(min=-1)]
                for image_boxes, index in zip(targets.boxes, matches, strict=True)
            ]
        )
        self.boxes = torch.where(self.mask[:, None], boxes, self.anchors.boxes)
        self.count = self.mask.sum()

    def take(self, values: Tensor) -> Tensor:
        values = values.flatten(0, 1)
        return values.where(self.mask.view(-1, *[1] * (values.dim() - 1)), 0)

    def scatter(self, values: Tensor) -> Tensor:
        return values.where(self.mask, 0).view(self.shape)

    def sum(self, losses: Tensor) -> Tensor:
        return losses.where(self.mask, 0).sum()


def collect_positives(
    matches: Tensor, anchors: Anchors, targets: PaddedTargets | list[Target]
) -> Positives:
    """Return masked positives for padded targets, and gathered positives otherwise."""
    if isinstance(targets, PaddedTargets):
        return MaskedPositives(matches, anchors, targets)
    return GatheredPositives(matches, anchors, targets)
