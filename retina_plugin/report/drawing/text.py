"""Measure and draw lines of text with a font for each run of characters."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from retina_plugin.report.drawing.fonts import default_face, load_font
from retina_plugin.report.drawing.palette import Colour
from retina_plugin.report.drawing.runs import Run, clean, clusters, is_right_to_left, split_runs

ELLIPSIS = "…"


class Line(NamedTuple):
    """A line of text that can be drawn.

    Attributes:
        runs: from left to right.
        widths: of the runs in pixels.
        size: of the text in pixels.
    """

    runs: tuple[Run, ...]
    widths: tuple[int, ...]
    size: int

    @property
    def width(self) -> int:
        """Width in pixels."""
        return sum(self.widths)


@functools.lru_cache(maxsize=4096)
def make_line(text: str, size: int, max_width: int | None = None) -> Line:
    """Prepare a line of text.

    Args:
        text: any text; control characters are replaced.
        size: of the text in pixels.
        max_width: longer text is shortened and ends with "…"; None for no limit.
    """
    text = clean(text)
    line = _measure(text, size)
    if max_width is None or line.width <= max_width:
        return line
    parts = clusters(text)
    low, high = 0, len(parts) - 1  # number of parts that are kept
    while low < high:
        middle = (low + high + 1) // 2
        fits = _measure("".join(parts[:middle]) + ELLIPSIS, size).width <= max_width
        low, high = (middle, high) if fits else (low, middle - 1)
    return _measure("".join(parts[:low]).rstrip() + ELLIPSIS, size)


def _measure(text: str, size: int) -> Line:
    runs = split_runs(text)
    if is_right_to_left(text):
        runs.reverse()
    return Line(tuple(runs), tuple(_width(run, size) for run in runs), size)


def _width(run: Run, size: int) -> int:
    font = load_font(run.face, size)
    return math.ceil(font.pillow.getlength(run.text) * font.scale)


def join_lines(first: Line, second: Line) -> Line:
    """Put the runs of the second line to the right of the first."""
    return Line(first.runs + second.runs, first.widths + second.widths, first.size)


def text_height(size: int) -> int:
    """Return the height of a line of text in pixels."""
    return sum(load_font(default_face(), size).pillow.getmetrics())


def draw_line(canvas: Image.Image, position: tuple[int, int], line: Line, colour: Colour) -> None:
    """Draw text.

    Args:
        canvas: RGB image, changed in place.
        position: x of the left end and y of the top of the line.
        line: the text.
        colour: of the text, except for emoji in colour.
    """
    x, top = position
    baseline = top + load_font(default_face(), line.size).pillow.getmetrics()[0]
    drawing = ImageDraw.Draw(canvas)
    for run, width in zip(line.runs, line.widths, strict=True):
        font = load_font(run.face, line.size)
        if font.scale == 1:
            drawing.text(
                (x, baseline), run.text, colour, font.pillow, anchor="ls", embedded_color=True
            )
        elif width:
            _paste_bitmaps(canvas, (x, top), run, width, line.size)
        x += width


def _paste_bitmaps(
    canvas: Image.Image, position: tuple[int, int], run: Run, width: int, size: int
) -> None:
    """Draw a run of colour emoji at the size of their bitmaps, and reduce it."""
    font = load_font(run.face, size)
    ascent, descent = font.pillow.getmetrics()
    large = Image.new("RGBA", (round(width / font.scale), ascent + descent))
    ImageDraw.Draw(large).text(
        (0, ascent), run.text, font=font.pillow, anchor="ls", embedded_color=True
    )
    height = text_height(size)
    small = large.resize((width, height), Image.Resampling.LANCZOS)
    canvas.paste(small, position, small)


def render_line(
    line: Line, *, colour: Colour, background: Colour, padding: tuple[int, int]
) -> np.ndarray:
    """Draw text on a plain background.

    Args:
        line: the text.
        colour: of the text.
        background: around the text.
        padding: free pixels on the left and right, and above and below.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    x, y = padding
    size = line.width + 2 * x, text_height(line.size) + 2 * y
    canvas = Image.new("RGB", size, background)
    draw_line(canvas, (x, y), line, colour)
    return np.asarray(canvas)
