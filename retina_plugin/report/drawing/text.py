"""Measure and draw lines of text with a font for each run of characters."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from retina_plugin.report.drawing.fonts import Font, default_face, load_font
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


def text_height(size: int) -> int:
    """Return the height of a line of text in pixels."""
    return sum(load_font(default_face(), size).pillow.getmetrics())


def draw_line(canvas: Image.Image, line: Line, colour: Colour) -> None:
    """Draw text from the left end of an image that is as high as the text."""
    ascent = load_font(default_face(), line.size).pillow.getmetrics()[0]
    drawing = ImageDraw.Draw(canvas)
    x = 0
    for run, width in zip(line.runs, line.widths, strict=True):
        font = load_font(run.face, line.size)
        if font.scale == 1:
            position, pillow = (x, ascent), font.pillow
            drawing.text(position, run.text, colour, pillow, anchor="ls", embedded_color=True)
        elif width:
            picture = _draw_bitmaps(run, font, (width, canvas.height))
            canvas.paste(picture, (x, 0), picture)
        x += width


def _draw_bitmaps(run: Run, font: Font, size: tuple[int, int]) -> Image.Image:
    """Draw a run of colour emoji at the size of their bitmaps, and reduce it to a size."""
    ascent, descent = font.pillow.getmetrics()
    large = Image.new("RGBA", (round(size[0] / font.scale), ascent + descent))
    drawing = ImageDraw.Draw(large)
    drawing.text((0, ascent), run.text, font=font.pillow, anchor="ls", embedded_color=True)
    return large.resize(size, Image.Resampling.LANCZOS)


@functools.lru_cache(maxsize=512)  # frames of a video repeat names and scores
def render_line(line: Line, colour: Colour, background: Colour) -> np.ndarray:
    """Draw text on a plain background.

    Returns:
        (H, W, 3) uint8 RGB, read-only.
    """
    canvas = Image.new("RGB", (line.width, text_height(line.size)), background)
    draw_line(canvas, line, colour)
    return np.asarray(canvas)
