"""Anchor generation, in Detectron2's order.

Axes: L levels, A anchors per cell, R anchors per image, H and W cells of a level. Within a level,
anchors are ordered by row, column, size and aspect ratio;
:func:`retina_plugin.modeling.structures.flatten_level` puts predictions into the same order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from retina_plugin.modeling.structures import Anchors

PerLevel = Sequence[float] | Sequence[Sequence[float]]  # numbers for all levels, or for each level


def cell_anchors(sizes: Sequence[float], aspect_ratios: Sequence[float]) -> Tensor:
    """Return the anchors of one cell, centred on (0, 0).

    Args:
        sizes: square roots of the anchor areas, in pixels of the network's input.
        aspect_ratios: height / width. The area is the same for all ratios.

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
        offset: position of the centre in a cell, in strides; 0.5 is the middle of the cell.

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


def _per_level(values: Sequence[Any], num_levels: int, key: str) -> list[Sequence[float]]:
    """Return one list of numbers for each level.

    ``values`` is one list of numbers for all levels, or a list of lists with one entry for each
    level or a single entry for all levels.
    """
    rows: list[Sequence[float]] = list(values) if isinstance(values[0], Sequence) else [values]
    if len(rows) not in (1, num_levels):
        raise ValueError(
            f"MODEL.ANCHOR_GENERATOR.{key} has {len(rows)} lists, expected 1 or one for each of "
            f"{num_levels} levels"
        )
    return rows * num_levels if len(rows) == 1 else rows


class AnchorGenerator(nn.Module):
    """Generates all anchors of an image from the sizes of its feature maps.

    It has no parameters, and its ``state_dict`` is empty.
    """

    cells: Tensor

    def __init__(
        self,
        *,
        sizes: PerLevel,
        aspect_ratios: PerLevel,
        strides: Sequence[int],
        offset: float,
    ) -> None:
        """
        Args:
            sizes: in pixels; a list of numbers for all levels, or one list for each level.
            aspect_ratios: height / width; a list of numbers for all levels, or one list for each
                level.
            strides: pixels per cell, one for each level.
            offset: in [0, 1), see :func:`grid_anchors`.

        Raises:
            ValueError: if the number of lists differs from the number of levels, or levels have
                different numbers of anchors per cell.
        """
        super().__init__()
        self.strides, self.offset = tuple(strides), offset
        level_sizes = _per_level(sizes, len(self.strides), "SIZES")
        level_ratios = _per_level(aspect_ratios, len(self.strides), "ASPECT_RATIOS")
        cells = [cell_anchors(s, r) for s, r in zip(level_sizes, level_ratios, strict=True)]
        if len({len(cell) for cell in cells}) != 1:
            raise ValueError(
                "every level needs the same number of anchors per cell, found "
                f"{[len(cell) for cell in cells]}"
            )
        self.num_anchors = len(cells[0])
        self.register_buffer("cells", torch.stack(cells), persistent=False)  # (L, A, 4)

    def forward(self, grid_sizes: Sequence[tuple[int, int]]) -> Anchors:
        """Return all R anchors of an image, from (H, W) of each level, finest first."""
        levels = [
            grid_anchors(cell, size, stride=stride, offset=self.offset)
            for cell, size, stride in zip(self.cells, grid_sizes, self.strides, strict=True)
        ]
        # torch.jit.trace records shape[0], but not len()
        counts = tuple(level.shape[0] for level in levels)
        return Anchors(
            torch.cat(levels),
            counts,
            self.strides,
            self.num_anchors,
            grid_sizes=tuple(grid_sizes),
        )
