"""Anchors: the boxes that a detector starts from, in Detectron2's order.

Axes: L levels, A anchors per cell, R anchors per image, H and W cells of a level. Within a level
anchors are ordered by row, column, size, aspect ratio;
:func:`retina_plugin.modeling.structures.flatten_level` puts predictions in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from retina_plugin.modeling.structures import Anchors


def cell_anchors(sizes: Sequence[float], aspect_ratios: Sequence[float]) -> Tensor:
    """The anchors of one cell, centred on (0, 0).

    Args:
        sizes: square roots of anchor areas, in pixels of the network's input.
        aspect_ratios: height / width; each keeps the area.

    Returns:
        (A, 4) XYXY with A = len(sizes) * len(aspect_ratios), sizes outermost.
    """
    anchors = []
    for size in sizes:
        for ratio in aspect_ratios:
            width = math.sqrt(size**2.0 / ratio)
            height = ratio * width
            anchors.append([-width / 2, -height / 2, width / 2, height / 2])
    return torch.tensor(anchors)


def grid_anchors(cell: Tensor, grid_size: tuple[int, int], *, stride: int, offset: float) -> Tensor:
    """Repeat the anchors of a cell over a grid.

    Args:
        cell: (A, 4) from :func:`cell_anchors`.
        grid_size: (H, W) cells.
        stride: pixels between neighbouring cells.
        offset: where the first centre lies, in strides; 0.5 is the middle of its cell.

    Returns:
        (H * W * A, 4) XYXY pixels.
    """
    rows, columns = (
        torch.arange(n, dtype=torch.float32, device=cell.device).add_(offset).mul_(stride)
        for n in grid_size
    )
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    shifts = torch.stack([x, y, x, y], dim=-1)  # (H, W, 4)
    return (shifts[:, :, None] + cell).reshape(-1, 4)


def _per_level(values: Sequence, num_levels: int, key: str) -> list[Sequence[float]]:
    """One list of numbers serves every level; a list of lists has one entry for each level, or one
    for all."""
    rows = list(values) if isinstance(values[0], Sequence) else [values]
    if len(rows) not in (1, num_levels):
        raise ValueError(
            f"MODEL.ANCHOR_GENERATOR.{key} has {len(rows)} lists, expected 1 or one for each of "
            f"{num_levels} levels"
        )
    return rows * num_levels if len(rows) == 1 else rows


class AnchorGenerator(nn.Module):
    """All anchors of an image from the sizes of its feature maps. It has no parameters and nothing
    in its ``state_dict``."""

    def __init__(
        self,
        *,
        sizes: Sequence,
        aspect_ratios: Sequence,
        strides: Sequence[int],
        offset: float,
    ) -> None:
        """
        Args:
            sizes: a list of numbers for every level, or one list for each level; pixels.
            aspect_ratios: likewise; height / width.
            strides: pixels per cell, one for each level.
            offset: in [0, 1), see :func:`grid_anchors`.

        Raises:
            ValueError: lists that do not fit the number of levels, or levels with different numbers
                of anchors per cell.
        """
        super().__init__()
        self.strides, self.offset = tuple(strides), offset
        sizes = _per_level(sizes, len(self.strides), "SIZES")
        ratios = _per_level(aspect_ratios, len(self.strides), "ASPECT_RATIOS")
        cells = [cell_anchors(s, r) for s, r in zip(sizes, ratios, strict=True)]
        if len({len(cell) for cell in cells}) != 1:
            raise ValueError(
                "every level needs the same number of anchors per cell, found "
                f"{[len(cell) for cell in cells]}"
            )
        self.num_anchors = len(cells[0])
        self.register_buffer("cells", torch.stack(cells), persistent=False)  # (L, A, 4)

    def forward(self, grid_sizes: Sequence[tuple[int, int]]) -> Anchors:
        """(H, W) of each level, finest first -> all R anchors of an image."""
        levels = [
            grid_anchors(cell, size, stride=stride, offset=self.offset)
            for cell, size, stride in zip(self.cells, grid_sizes, self.strides, strict=True)
        ]
        # shape[0] and not len(): a trace has to follow it
        counts = tuple(level.shape[0] for level in levels)
        return Anchors(torch.cat(levels), counts, self.strides, self.num_anchors)
