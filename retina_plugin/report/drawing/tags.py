"""The label of a box: its class name and score on a background in the class's colour."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from retina_plugin.report.drawing.palette import class_style, text_colour
from retina_plugin.report.drawing.text import Line, make_line, render_line, text_height


class Tag(NamedTuple):
    """A label that can be drawn.

    Attributes:
        lines: name and ending; only the name if there is no ending.
        label: number of the class.
    """

    lines: tuple[Line, ...]
    label: int


def make_tag(name: str, label: int, ending: str, *, size: int, max_width: int) -> Tag:
    """Build a label.

    Args:
        name: of the class; it is shortened if the label would be too wide, and "class 3" for class
            3 if it is empty.
        label: number of the class, for its colour.
        ending: text after the name, such as " 95%", which is never shortened.
        size: of the text in pixels.
        max_width: of the label in pixels; at least six times ``size`` are used.
    """
    endings = (make_line(ending, size),) if ending else ()
    room = max(max_width, 6 * size) - 2 * _padding(size)[0] - sum(line.width for line in endings)
    return Tag(
        (make_line(name.strip() or f"class {label}", size, max(room, 2 * size)), *endings), label
    )


def _padding(size: int) -> tuple[int, int]:
    """Return the free pixels on the left and right, and above and below text of a size."""
    return max(3, size // 5), max(1, size // 12)


def tag_size(tag: Tag) -> tuple[int, int]:
    """Return width and height of a label in pixels."""
    size = tag.lines[0].size
    x, y = _padding(size)
    width = sum(line.width for line in tag.lines) + 2 * x + _stripe_width(tag)
    return width, text_height(size) + 2 * y


def _stripe_width(tag: Tag) -> int:
    """Return the width of the stripe that shows the second colour of a dashed line."""
    return 0 if class_style(tag.label).gaps is None else max(4, tag.lines[0].size // 3)


def render_tag(tag: Tag) -> np.ndarray:
    """Draw a label; returns (H, W, 3) uint8 RGB."""
    style = class_style(tag.label)
    width, height = tag_size(tag)
    canvas = np.empty((height, width, 3), dtype=np.uint8)
    canvas[:] = style.colour
    stripe, (x, y) = _stripe_width(tag), _padding(tag.lines[0].size)
    canvas[:, :stripe] = style.gaps or style.colour
    x += stripe
    for line in tag.lines:
        text = render_line(line, text_colour(style.colour), style.colour)
        canvas[y : y + text.shape[0], x : x + text.shape[1]] = text
        x += text.shape[1]
    return canvas
