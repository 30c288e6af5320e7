"""The data types that the parts of the detector exchange.

Axes: N images, L levels, A anchors per cell, R anchors per image (all levels), K classes, D numbers
that encode a box, M boxes of one image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

BACKGROUND, IGNORED = -1, -2  # in Assignment.matches, instead of the index of a box

# "boxes" (M, 4) XYXY pixels of the network's input, "labels" (M,) int64 in [0, K); M may be 0.
Target = dict[str, Tensor]

# "boxes" (M, 4) XYXY pixels, "scores" (M,) in (0, 1) in descending order, "labels" (M,) int64 in
# [0, K); M may be 0.
Detections = dict[str, Tensor]


class ImageLosses(NamedTuple):
    """The losses of one image.

    Attributes:
        sums: the losses by name, not divided by a number of positives.
        positives: the number of positive anchors.
    """

    sums: dict[str, float]
    positives: int

    @classmethod
    def sum(cls, parts: Sequence[ImageLosses]) -> ImageLosses:
        """Add the losses of at least one part of an image."""
        sums = {name: sum(part.sums[name] for part in parts) for name in parts[0].sums}
        return cls(sums, sum(part.positives for part in parts))


class Measured(NamedTuple):
    """The evaluation of N images.

    Attributes:
        detections: N detections.
        losses: N losses; empty without ground truth.
        unfiltered: N detections with the score threshold 0; empty without ground truth, or if the
            detections of several views were merged in a way that depends on the threshold.
    """

    detections: list[Detections]
    losses: list[ImageLosses]
    unfiltered: list[Detections]


class Anchors(NamedTuple):
    """All anchors of one image, ordered by level, cell and anchor of the cell; or some of them.

    Attributes:
        boxes: (R, 4) XYXY pixels of the network's input.
        counts: number of anchors in each level of the image, L numbers.
        strides: pixels per cell of each level, L numbers.
        per_cell: A.
        rows: (R,) int64, the indices of selected anchors among all of the image; None for all.
        grid_sizes: rows and columns of the cells of each level, L pairs; () if unknown.
    """

    boxes: Tensor
    counts: tuple[int, ...]
    strides: tuple[int, ...]
    per_cell: int
    rows: Tensor | None = None
    grid_sizes: tuple[tuple[int, int], ...] = ()

    def at(self, rows: Tensor) -> Anchors:
        """Select anchors by indices (P,) int64; P may be 0.

        Call it on all anchors of an image, not on a selection.
        """
        return self._replace(boxes=self.boxes[rows], rows=rows)

    @property
    def levels(self) -> Tensor:
        """The level of each anchor, (R,) int64; 0 is the finest."""
        return self._of_levels(range(len(self.counts)))

    @property
    def stride_of_each(self) -> Tensor:
        """The stride of each anchor's level, (R,) int64."""
        return self._of_levels(self.strides)

    def _of_levels(self, values: Sequence[int]) -> Tensor:
        """Return the value of each anchor's level, (R,) int64.

        It is computed as a sum of differences between levels. Indexing a tensor of the values would
        copy it to the accelerator, and the CPU would wait.
        """
        rows = self.rows
        if rows is None:
            rows = torch.arange(len(self.boxes), device=self.boxes.device)
        found, end = torch.full_like(rows, values[0]), 0
        for count, value, next_value in zip(self.counts, values, values[1:], strict=False):
            end += count
            found = found + (rows >= end) * (next_value - value)
        return found


class Predictions(NamedTuple):
    """The predictions of a head for all anchors.

    Attributes:
        logits: (N, R, K), the class logits.
        deltas: (N, R, D), boxes as encoded by the model's box coder.
        quality: (N, R), logits of the predicted IoU of each box with its object; None if the head
            has no such branch.
    """

    logits: Tensor
    deltas: Tensor
    quality: Tensor | None = None

    def of_image(self, image: int) -> Predictions:
        """Return the predictions of one image of the batch, as a batch of one."""
        rows = slice(image, image + 1)
        quality = None if self.quality is None else self.quality[rows]
        return Predictions(self.logits[rows], self.deltas[rows], quality)

    @classmethod
    def from_levels(
        cls,
        logits: Sequence[Tensor],
        deltas: Sequence[Tensor],
        quality: Sequence[Tensor] | None = None,
        *,
        num_anchors: int,
    ) -> Predictions:
        """Reorder the maps of a head to the order of the anchors.

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
    """The ground-truth box that is assigned to each anchor.

    Attributes:
        matches: (N, R) int64, the index of a box of the image, :data:`BACKGROUND` or
            :data:`IGNORED`.
        quality: (N, R) in 0..1, soft class targets of the positives; None if all are 1.
        box_weights: (N, R), weights of the box loss of the positives; None if all are 1.
    """

    matches: Tensor
    quality: Tensor | None = None
    box_weights: Tensor | None = None


def flatten_level(predictions: Tensor, num_values: int) -> Tensor:
    """Reorder (N, A * K, H, W) to (N, H * W * A, K), the order of the anchors; K is
    ``num_values``."""
    n, _, height, width = predictions.shape
    # (N, H, W, A, K)
    predictions = predictions.view(n, -1, num_values, height, width).permute(0, 3, 4, 1, 2)
    return predictions.reshape(n, -1, num_values)
