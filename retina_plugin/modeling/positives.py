"""The positive anchors of a batch, as the criterion needs them, in two implementations: gathered,
fast on the CPU, and masked, with fixed shapes.

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
    """Rows for the losses that positive anchors have.

    Attributes:
        anchors: P of them.
        boxes: (P, 4) XYXY pixels, the box that each of them learns.
        count: scalar tensor, the number of positives.
    """

    anchors: Anchors
    boxes: Tensor
    count: Tensor

    def take(self, values: Tensor) -> Tensor:
        """(N, R, ...) of all anchors -> (P, ...) of these."""

    def sum(self, losses: Tensor) -> Tensor:
        """(P,) -> the sum over the positives, 0 where there are none."""


class GatheredPositives:
    """P is the number of positives. See :class:`Positives`."""

    def __init__(self, matches: Tensor, anchors: Anchors, targets: Sequence[Target]) -> None:
        """
        Args:
            matches: (N, R), see :class:`retina_plugin.modeling.structures.Assignment`.
            anchors: R of them.
            targets: N of them.
        """
        self.image, self.anchor = (matches >= 0).nonzero(as_tuple=True)  # (P,) each
        matches = matches[self.image, self.anchor]
        # not boxes[...][image, match]: images have different numbers of boxes
        self.boxes = torch.cat(
            [t["boxes"][matches[self.image == i]] for i, t in enumerate(targets)]
        )
        self.anchors = anchors.at(self.anchor)
        self.count = matches.new_tensor(len(matches))

    def take(self, values: Tensor) -> Tensor:
        return values[self.image, self.anchor]

    def sum(self, losses: Tensor) -> Tensor:
        return losses.sum()


class MaskedPositives:
    """P is N * R. Rows that are no positives have zeros as values and their anchor as box, which
    every loss can take, and no part in sums; nothing of them reaches a gradient. See
    :class:`Positives`."""

    def __init__(self, matches: Tensor, anchors: Anchors, targets: PaddedTargets) -> None:
        """See :class:`GatheredPositives`."""
        n, r = matches.shape
        self.mask = (matches >= 0).flatten()
        self.anchors = anchors.at(torch.arange(r, device=matches.device).repeat(n))
        nothing = targets.boxes.new_zeros(1, 4)  # for all that are no positives, also where M is 0
        boxes = torch.cat(
            [
                torch.cat([boxes, nothing])[index.clamp(min=-1)]
                for boxes, index in zip(targets.boxes, matches, strict=True)
            ]
        )
        self.boxes = torch.where(self.mask[:, None], boxes, self.anchors.boxes)
        self.count = self.mask.sum()

    def take(self, values: Tensor) -> Tensor:
        values = values.flatten(0, 1)
        return values.where(self.mask.view(-1, *[1] * (values.dim() - 1)), 0)

    def sum(self, losses: Tensor) -> Tensor:
        return losses.where(self.mask, 0).sum()


def collect_positives(
    matches: Tensor, anchors: Anchors, targets: PaddedTargets | list[Target]
) -> Positives:
    """Masked where targets are padded, else gathered; see :class:`GatheredPositives`."""
    kind = MaskedPositives if isinstance(targets, PaddedTargets) else GatheredPositives
    return kind(matches, anchors, targets)
