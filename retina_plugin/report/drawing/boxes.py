"""Draw rectangles with solid or dashed lines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retina_plugin.report.drawing.palette import DARK, Style
from retina_plugin.report.drawing.sizes import line_width_of_box

Corners = tuple[int, int, int, int]  # x0, y0, x1, y1; x1 and y1 are exclusive


def to_corners(box: Sequence[float] | np.ndarray, height: int, width: int) -> Corners:
    """Round a box to whole pixels and clip it to the image, in which it has at least one pixel.

    A box that leaves the image has its line at the border, and one outside becomes a dot there.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    left, top = _clip(x0, width - 1), _clip(y0, height - 1)
    return left, top, max(_clip(x1, width), left + 1), max(_clip(y1, height), top + 1)


def _clip(value: float, largest: int) -> int:
    return round(min(max(value, 0), largest))


def draw_box(canvas: np.ndarray, corners: Corners, style: Style, *, width: int) -> None:
    """Draw a line inside the box and a black one around it, to be visible on any image.

    Args:
        canvas: (H, W, 3) uint8, changed in place.
        corners: a box inside the image.
        style: colour and dashes.
        width: of the line in pixels; it is thinner in small boxes.
    """
    x0, y0, x1, y1 = corners
    edge = max(1, width // 4)
    _frame(canvas, (x0 - edge, y0 - edge, x1 + edge, y1 + edge), DARK, DARK, edge)
    longest = max(x1 - x0, y1 - y0)
    line = dashes(style, longest, width)
    _frame(
        canvas, corners, line[: x1 - x0], line[: y1 - y0, None], line_width_of_box(width, *corners)
    )


def dashes(style: Style, length: int, width: int) -> np.ndarray:
    """Return the colours of the pixels along a line (length, 3) uint8."""
    line = np.empty((length, 3), dtype=np.uint8)
    line[:] = style.colour
    if style.gaps is not None:
        period = max(9, 4 * width) * style.dash
        line[np.arange(length) % period >= round(period * 0.6)] = style.gaps
    return line


def _frame(
    canvas: np.ndarray,
    corners: Corners,
    rows: np.ndarray | tuple[int, int, int],
    columns: np.ndarray | tuple[int, int, int],
    width: int,
) -> None:
    """Draw the four sides; what lies outside of the canvas is left out.

    Args:
        canvas: (H, W, 3) uint8, changed in place.
        corners: the outer edge of the line.
        rows: colours of horizontal sides, which broadcast to (width, x1 - x0, 3).
        columns: colours of vertical sides, which broadcast to (y1 - y0, width, 3).
        width: of the line.
    """
    x0, y0, x1, y1 = corners
    left, top = max(x0, 0), max(y0, 0)
    for y in (y0, y1 - width):
        if 0 <= y < canvas.shape[0]:
            canvas[y : y + width, left:x1] = rows
    for x in (x0, x1 - width):
        if 0 <= x < canvas.shape[1]:
            canvas[top:y1, x : x + width] = columns
