"""Padded targets: the targets of a batch as tensors, for code with fixed shapes.

Axes: N images, M boxes per image after padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor
from torch.nn import functional as F

from retina_plugin.layers import tracing
from retina_plugin.modeling.structures import Target


@dataclass(frozen=True)
class PaddedTargets(Sequence[Target]):
    """Targets of N images, padded to the same number of boxes.

    Indexing returns the target of an image without the padding. Removing the padding makes the CPU
    wait for an accelerator.

    Attributes:
        boxes: (N, M, 4) XYXY pixels of the network's input; M may be 0.
        labels: (N, M) int64 in [0, K).
        mask: (N, M) bool, False for padding, which is at the end of each row. The boxes and labels
            of padding may have any value.
    """

    boxes: Tensor
    labels: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return len(self.mask)

    @overload
    def __getitem__(self, image: int) -> Target: ...

    @overload
    def __getitem__(self, image: slice) -> list[Target]: ...

    def __getitem__(self, image: int | slice) -> Target | list[Target]:
        if isinstance(image, slice):
            return [self[i] for i in range(*image.indices(len(self)))]
        mask = self.mask[image]
        return {"boxes": self.boxes[image][mask], "labels": self.labels[image][mask]}


def pad_targets(targets: Sequence[Target], *, num_boxes: int = 0) -> PaddedTargets:
    """Pad targets to the largest number of boxes among them.

    The padding depends on shapes only, so the CPU does not wait for an accelerator.

    Args:
        targets: the targets of N images; N must be above 0.
        num_boxes: minimum of M. ``torch.compile`` compiles again when M changes; a large enough
            ``num_boxes`` gives all batches the same M.
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
    """Pad the targets if tensors like ``like`` need fixed shapes; otherwise return them as a list.

    The type of the result selects the implementation of assigners and losses.
    """
    if not tracing.needs_fixed_shapes(like):
        return list(targets)
    return targets if isinstance(targets, PaddedTargets) else pad_targets(targets)
