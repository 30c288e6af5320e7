"""Draw lines and bars as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from retina_plugin.report.page.html import Html, join, tag

# the palette of Okabe and Ito, which colour-blind people can distinguish; yellow is left out
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
DASHES = ("", "7 3", "2 3", "9 3 2 3")
WIDTH, HEIGHT = 460, 320
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 44  # margins
MOST_POINTS = 240  # of a line


class Line(NamedTuple):
    """A line of a chart.

    Attributes:
        name: its name in the legend.
        x, y: (S,) values.
        mark: (x, y) of a point to emphasize; None for none.
        is_main: whether the line is drawn thicker.
    """

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    mark: tuple[float, float] | None = None
    is_main: bool = False


class Axis(NamedTuple):
    """An axis with its label and its ends."""

    label: str
    low: float
    high: float

    def position(
        self, values: Sequence[float] | np.ndarray, start: float, end: float
    ) -> np.ndarray:
        """Map values to pixels; ``low`` is at ``start`` and ``high`` at ``end``."""
        span = self.high - self.low or 1.0
        mapped: np.ndarray = start + (np.asarray(values, dtype=float) - self.low) / span * (
            end - start
        )
        return mapped

    def ticks(self) -> list[float]:
        """Return 3 to 9 round numbers."""
        span = self.high - self.low
        if span <= 0 or not math.isfinite(span):
            return [self.low]
        unit = 10.0 ** math.floor(math.log10(span))
        step = next(s * unit for s in (0.2, 0.25, 0.5, 1.0, 2.0) if span / (s * unit) <= 8)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [n * step for n in range(first, last + 1)]


def axis_of(label: str, values: Sequence[float] | np.ndarray, *, from_zero: bool = True) -> Axis:
    """Return an axis that shows all finite values."""
    known = [float(v) for v in values if math.isfinite(v)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    low = min(low, 0.0) if from_zero else low
    return Axis(label, low, high if high > low else low + 1)


def line_chart(
    lines: Sequence[Line], x: Axis, y: Axis, *, title: str, extra: Html | None = None
) -> Html:
    """Draw lines with axes and a legend.

    Args:
        lines: the lines; more than 28 repeat colours and dashes.
        x, y: the axes.
        title: read aloud instead of the picture, and shown above it.
        extra: SVG drawn behind the lines.
    """
    drawn = [_draw_line(line, number, x, y) for number, line in enumerate(lines)]
    return _figure(title, join(_axes(x, y), extra, *drawn), _legend([line.name for line in lines]))


def place(x: Axis, y: Axis, x_values: Sequence[float], y_values: Sequence[float]) -> np.ndarray:
    """Return the pixels (S, 2) of points in a chart."""
    return np.column_stack(
        [
            x.position(x_values, LEFT, WIDTH - RIGHT),
            y.position(y_values, HEIGHT - BOTTOM, TOP),
        ]
    )


def style_of(number: int) -> tuple[str, str]:
    """Return colour and dashes of a line."""
    return COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]


def _draw_line(line: Line, number: int, x: Axis, y: Axis) -> Html:
    values = np.column_stack([np.asarray(line.x, dtype=float), np.asarray(line.y, dtype=float)])
    values = values[np.isfinite(values).all(axis=1)]
    if not len(values):
        return Html()
    if len(values) > MOST_POINTS:
        values = values[np.linspace(0, len(values) - 1, MOST_POINTS).round().astype(int)]
    points = place(x, y, values[:, 0].tolist(), values[:, 1].tolist())
    colour, dashes = style_of(number)
    drawn = tag(
        "polyline",
        tag("title", line.name),
        points=" ".join(f"{a:.1f},{b:.1f}" for a, b in points),
        fill="none",
        stroke=colour,
        stroke_dasharray=dashes or None,
        stroke_width=3 if line.is_main else 1.8,
    )
    if line.mark is None and len(points) > 1:
        return drawn
    ((a, b),) = points[:1] if line.mark is None else place(x, y, line.mark[:1], line.mark[1:])
    return join(drawn, tag("circle", cx=f"{a:.1f}", cy=f"{b:.1f}", r=5, fill=colour, stroke="#fff"))


def _axes(x: Axis, y: Axis) -> Html:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value, a in zip(x.ticks(), x.position(x.ticks(), LEFT, right), strict=True):
        parts.append(_rule(a, TOP, a, bottom))
        parts.append(_label(a, bottom + 16, f"{value:g}", "middle"))
    for value, b in zip(y.ticks(), y.position(y.ticks(), bottom, TOP), strict=True):
        parts.append(_rule(LEFT, b, right, b))
        parts.append(_label(LEFT - 6, b + 4, f"{value:g}", "end"))
    middle = (TOP + bottom) / 2
    turned = tag(
        "text",
        y.label,
        x=12,
        y=f"{middle:.0f}",
        text_anchor="middle",
        transform=f"rotate(-90 12 {middle:.0f})",
    )
    return join(*parts, _label((LEFT + right) / 2, HEIGHT - 8, x.label, "middle"), turned)


def _rule(x0: float, y0: float, x1: float, y1: float) -> Html:
    ends = {"x1": f"{x0:.1f}", "y1": f"{y0:.1f}", "x2": f"{x1:.1f}", "y2": f"{y1:.1f}"}
    return tag("line", class_="rule", **ends)


def _label(x: float, y: float, text: str, anchor: str) -> Html:
    return tag("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)


def _figure(title: str, content: Html, legend: Html) -> Html:
    picture = tag(
        "svg",
        content,
        viewbox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=title,
        class_="chart",
    )
    return tag("figure", tag("figcaption", title), picture, legend)


def _legend(names: Sequence[str]) -> Html:
    if len(names) < 2:
        return Html()
    return tag(
        "ul", *(tag("li", _swatch(i), name) for i, name in enumerate(names)), class_="legend"
    )


def _swatch(number: int) -> Html:
    colour, dashes = style_of(number)
    line = tag(
        "line",
        x1=0,
        y1=5,
        x2=26,
        y2=5,
        stroke=colour,
        stroke_width=3,
        stroke_dasharray=dashes or None,
    )
    return tag("svg", line, viewbox="0 0 26 10", class_="swatch", aria_hidden="true")


def bar_chart(names: Sequence[str], values: Sequence[float], *, title: str, unit: str) -> Html:
    """Draw horizontal bars with their values; NaN and 0 have no bar."""
    known = [v for v in values if math.isfinite(v)]
    longest = max([*known, 1e-9])
    rows = []
    for row, (name, value) in enumerate(zip(names, values, strict=True)):
        middle, length = 26 * row + 18, 220 * max(value, 0) / longest if value in known else 0
        rows.append(_label(142, middle, name, "end"))
        box = {"x": 150, "y": middle - 13, "height": 18, "width": f"{length:.1f}"}
        rows.append(tag("rect", fill=COLOURS[0], **box))
        text = f"{value:.1f} {unit}" if value in known else "-"
        rows.append(_label(156 + length, middle, text, "start"))
    picture = tag(
        "svg",
        *rows,
        viewbox=f"0 0 {WIDTH} {26 * len(names) + 8}",
        role="img",
        aria_label=title,
        class_="chart",
    )
    return tag("figure", tag("figcaption", title), picture)
