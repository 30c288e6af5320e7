"""Targets of a batch as one tensor each, for code with fixed shapes.

Axes: N images, M boxes, the same number for every image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from retina_plugin.layers import tracing
from retina_plugin.modeling.structures import Target


@dataclass(frozen=True)
class PaddedTargets(Sequence):
    """Targets of N images, filled up to the same number of boxes. As a sequence it has the N
    targets without the padding, for which an accelerator has to be waited for.

    Attributes:
        boxes: (N, M, 4) XYXY pixels of the network's input; M may be 0.
        labels: (N, M) int64 in [0, K).
        mask: (N, M) bool: the first ones of each row are boxes, the others are padding, whose
            boxes and labels may hold anything.
    """

    boxes: Tensor
    labels: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return len(self.mask)

    def __getitem__(self, image: int) -> Target:
        mask = self.mask[image]
        return {"boxes": self.boxes[image][mask], "labels": self.labels[image][mask]}


def pad_targets(targets: Sequence[Target], *, num_boxes: int = 0) -> PaddedTargets:
    """Fill up targets to the largest number of boxes among them.

    Shapes alone say how much is filled up, so that no accelerator is waited for.

    Args:
        targets: N of them, at least one.
        num_boxes: the smallest M. Compiled code is compiled again for another M: who compiles
            gives batches of different numbers of boxes the same one.
    """
    length = max(num_boxes, *(len(target["labels"]) for target in targets))
    rows = [
        (
            F.pad(target["boxes"], (0, 0, 0, length - len(target["boxes"]))),
            F.pad(target["labels"].long(), (0, length - len(target["labels"]))),
            F.pad(torch.ones_like(target["labels"]).bool(), (0, length - len(target["labels"]))),
        )
        for target in targets
    ]
    return PaddedTargets(*(torch.stack(column) for column in zip(*rows, strict=True)))


def arrange_targets(targets: Sequence[Target], *, like: Tensor) -> PaddedTargets | list[Target]:
    """Padded targets where tensors like this one need fixed shapes, else a list of them as they
    are. The type chooses the implementation."""
    if not tracing.needs_fixed_shapes(like):
        return list(targets)
    return targets if isinstance(targets, PaddedTargets) else pad_targets(targets)
