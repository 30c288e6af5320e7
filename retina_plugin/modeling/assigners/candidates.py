"""Candidates of ATSS: for each box, the anchors of each level that are closest to its centre.

The cells of a level lie on a grid, so only few of them can be among the k closest to a point. Take
the cell in the i-th closest row and the j-th closest column. All cells in closer rows and closer
columns are at least as close, which makes i * j cells with itself. So the cell can be among the k
closest only if i * j <= k. Only such cells are compared. All shapes depend only on the shapes of
the input.

Axes: M boxes, A anchors per cell, H rows and W columns of a level, k cells, C candidates.
"""

from __future__ import annotations

import torch
from torch import Tensor

from retina_plugin.modeling.structures import Anchors


def closest_anchors(anchors: Anchors, centres: Tensor, *, cells: int) -> Tensor:
    """Return all anchors of the cells that are closest to each point, in each level.

    Args:
        anchors: all R anchors of an image.
        centres: (M, 2) x and y in pixels; M may be 0.
        cells: k, the number of cells in each level. A level with fewer cells gives all of them.

    Returns:
        (M, C) int64, indices of anchors, level by level, closest cells first. Equally close cells
        are ordered by the distance of their row, then of their column.

    Raises:
        ValueError: the grid sizes of the anchors are unknown.
    """
    if len(anchors.grid_sizes) != len(anchors.counts):
        raise ValueError(
            f"ATSSAssigner needs the rows and columns of {len(anchors.counts)} levels in "
            f"Anchors.grid_sizes, found {anchors.grid_sizes}: give them, or choose another "
            "MODEL.RETINA_PLUGIN.ASSIGNER.NAME"
        )
    offsets = torch.arange(anchors.per_cell, device=centres.device)
    start, found = 0, [offsets.new_zeros(len(centres), 0)]
    for count, (height, width) in zip(anchors.counts, anchors.grid_sizes, strict=True):
        if count:
            level = anchors.boxes[start : start + count].view(height, width, -1, 4)[:, :, 0]
            points = (level[..., :2] + level[..., 2:]) / 2
            cell = _closest_cells(points[0, :, 0], points[:, 0, 1], centres, cells)
            index = (cell * anchors.per_cell)[..., None] + offsets + start
            found.append(index.flatten(1))
        start += count
    return torch.cat(found, dim=1)


def _closest_cells(columns: Tensor, rows: Tensor, centres: Tensor, number: int) -> Tensor:
    """Return the indices of the closest cells of a level, (M, k); at most H * W.

    Args:
        columns, rows: (W,) and (H,), the x and y of the cells' centres, ascending.
        centres: (M, 2).
        number: k.
    """
    column, dx = _closest_lines(columns, centres[:, 0], number)
    row, dy = _closest_lines(rows, centres[:, 1], number)
    distances, cells = [], []
    for i in range(row.shape[1]):
        few = slice(number // (i + 1))
        distances.append(dx[:, few] + dy[:, i : i + 1])
        cells.append(row[:, i : i + 1] * len(columns) + column[:, few])
    order = torch.cat(distances, dim=1).argsort(dim=1, stable=True)
    return torch.cat(cells, dim=1).gather(1, order[:, :number])


def _closest_lines(lines: Tensor, positions: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Return the closest of ascending lines (W,) to each position (M,), closest first.

    Returns:
        The indices (M, k) and the squared distances (M, k), with k = min(number, W).
    """
    window, lines = min(len(lines), 2 * number), lines.contiguous()
    after = torch.searchsorted(lines, positions.contiguous())
    first = (after - number).clamp(min=0, max=len(lines) - window)
    index = first[:, None] + torch.arange(window, device=lines.device)
    distance = (lines[index] - positions[:, None]) ** 2
    order = distance.argsort(dim=1, stable=True)[:, :number]
    return index.gather(1, order), distance.gather(1, order)
