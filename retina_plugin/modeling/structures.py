"""The values that parts of the detector hand to each other.

Axes: N images, L levels, A anchors per cell, R anchors per image (all levels), K classes, D numbers
that code a box, M boxes of one image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

BACKGROUND, IGNORED = -1, -2  # in Assignment.matches, in place of the index of a box

# "boxes" (M, 4) XYXY pixels of the network's input, "labels" (M,) int64 in [0, K); M may be 0.
Target = dict[str, Tensor]

# "boxes" (M, 4) XYXY pixels, "scores" (M,) in (0, 1), falling, "labels" (M,) int64 in [0, K).
Detections = dict[str, Tensor]


class Anchors(NamedTuple):
    """Anchors of one image, in the order of the levels, their cells and the anchors of a cell.

    Attributes:
        boxes: (R, 4) XYXY pixels of the network's input.
        counts: anchors of each level of the image, L numbers.
        strides: pixels per cell of each level, L numbers.
        per_cell: A.
        rows: (R,) int64, which anchors of the image these are; None for all of them.
    """

    boxes: Tensor
    counts: tuple[int, ...]
    strides: tuple[int, ...]
    per_cell: int
    rows: Tensor | None = None

    def at(self, rows: Tensor) -> Anchors:
        """The anchors of these indices, in this order; (P,) int64, P may be 0. Only of all anchors
        of an image."""
        return self._replace(boxes=self.boxes[rows], rows=rows)

    @property
    def levels(self) -> Tensor:
        """(R,) int64: the level of each anchor, 0 for the finest."""
        device = self.boxes.device
        rows = torch.arange(len(self.boxes), device=device) if self.rows is None else self.rows
        ends = torch.tensor(self.counts, device=device).cumsum(0)
        return torch.bucketize(rows, ends, right=True)

    @property
    def stride_of_each(self) -> Tensor:
        """(R,) int64: pixels per cell at each anchor."""
        return torch.tensor(self.strides, device=self.boxes.device)[self.levels]


class Predictions(NamedTuple):
    """What a head says of every anchor.

    Attributes:
        logits: (N, R, K) of the classes.
        deltas: (N, R, D), boxes in the coding of the model's box coder.
        quality: (N, R) logits of how well each box fits its object; None for a head without
            that branch.
    """

    logits: Tensor
    deltas: Tensor
    quality: Tensor | None = None

    @classmethod
    def from_levels(
        cls,
        logits: Sequence[Tensor],
        deltas: Sequence[Tensor],
        quality: Sequence[Tensor] | None = None,
        *,
        num_anchors: int,
    ) -> Predictions:
        """Put the maps of a head into the order of the anchors.

        Args:
            logits: (N, A * K, H, W) of each level, finest first.
            deltas: (N, A * D, H, W) of each level.
            quality: (N, A, H, W) of each level, or None.
            num_anchors: A.
        """
        maps = (logits, deltas) if quality is None else (logits, deltas, quality)
        flat = [
            torch.cat([flatten_level(x, x.shape[1] // num_anchors) for x in levels], dim=1)
            for levels in maps
        ]
        return cls(flat[0], flat[1], flat[2][..., 0] if quality is not None else None)


class Assignment(NamedTuple):
    """Which box each anchor learns.

    Attributes:
        matches: (N, R) int64: the index of a box of the image, :data:`BACKGROUND` or
            :data:`IGNORED`.
        quality: (N, R) in 0..1, the class score that a positive anchor should give; None for 1.
        box_weights: (N, R), factors of the box loss of positive anchors; None for 1.
    """

    matches: Tensor
    quality: Tensor | None = None
    box_weights: Tensor | None = None


def flatten_level(predictions: Tensor, num_values: int) -> Tensor:
    """(N, A * K, H, W) -> (N, H * W * A, K), the order in which anchors are generated."""
    n, _, height, width = predictions.shape
    # (N, H, W, A, K)
    predictions = predictions.view(n, -1, num_values, height, width).permute(0, 3, 4, 1, 2)
    return predictions.reshape(n, -1, num_values)
