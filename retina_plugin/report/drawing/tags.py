"""The label of a box: its class name and score on a background in the class's colour."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from retina_plugin.report.drawing.palette import class_style, text_colour
from retina_plugin.report.drawing.text import Line, join_lines, make_line, render_line, text_height

PADDING = 3, 1  # pixels on the left and right, and above and below


class Tag(NamedTuple):
    """A label that is ready to be drawn."""

    line: Line
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
    tail = make_line(ending, size) if ending else None
    room = max(max_width, 6 * size) - 2 * PADDING[0] - (tail.width if tail else 0)
    line = make_line(name.strip() or f"class {label}", size, max(room, 2 * size))
    return Tag(join_lines(line, tail) if tail else line, label)


def tag_size(tag: Tag) -> tuple[int, int]:
    """Return width and height of a label in pixels."""
    return (
        tag.line.width + 2 * PADDING[0] + _stripe(tag),
        text_height(tag.line.size) + 2 * PADDING[1],
    )


def _stripe(tag: Tag) -> int:
    """Return the width of the stripe that shows the second colour of a dashed line."""
    return 0 if class_style(tag.label).gaps is None else max(4, tag.line.size // 3)


@functools.lru_cache(maxsize=256)
def render_tag(tag: Tag) -> np.ndarray:
    """Draw a label; returns (H, W, 3) uint8 RGB."""
    style = class_style(tag.label)
    text = render_line(
        tag.line, colour=text_colour(style.colour), background=style.colour, padding=PADDING
    )
    if style.gaps is None:
        return text
    stripe = np.empty((text.shape[0], _stripe(tag), 3), dtype=np.uint8)
    stripe[:] = style.gaps
    return np.concatenate([stripe, text], axis=1)
