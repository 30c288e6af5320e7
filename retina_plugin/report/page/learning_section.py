"""The learning curves of a run: every scalar of metrics.json."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

from retina_plugin.engine.checkpoints import BEST
from retina_plugin.report.page.chart import Line, axis_of, line_chart
from retina_plugin.report.page.html import Html, note, section, tag
from retina_plugin.report.page.run_report import RunReport
from retina_plugin.report.trend import trend_of

Series = Mapping[str, dict[int, float]]
# scalars that share a chart
SIZES = ("APs", "APm", "APl")
MAIN = ("AP", "AP50", "AP75")
SHOWN = 6  # charts outside of "More scalars"
MOST_LINES = 10  # in a chart
INTERVAL_ENDS = ("_low", "_high")


def learning_section(run: RunReport, prefix: str, *, noise: float | None) -> Html | None:
    """Build the section.

    Args:
        run: the run.
        prefix: start of identifiers in the page.
        noise: half the width of the interval of AP; None without an interval.

    Returns:
        None without metrics.
    """
    if not run.scalars:
        return None
    charts = [_chart(*chart, run.step) for chart in _charts(_groups(run.scalars))]
    rest = tag(
        "details",
        tag("summary", "More scalars"),
        tag("div", *charts[SHOWN:], class_="row"),
    )
    return section(
        f"{prefix}learning",
        "Learning curves",
        *_texts(run, noise),
        tag("div", *charts[:SHOWN], class_="row"),
        rest if charts[SHOWN:] else None,
        note("Points mark the step of the evaluated weights."),
    )


def _importance(title: str) -> tuple[bool, bool, str]:
    """Return a sorting key: AP first, then losses."""
    return "AP" not in title, "loss" not in title, title


def _charts(groups: Mapping[str, list[Line]]) -> list[tuple[str, list[Line]]]:
    """Return titles and lines of the charts. A chart with many lines has those with the lowest last
    values, and further charts at the end have the others."""
    first: list[tuple[str, list[Line]]] = []
    further: list[tuple[str, list[Line]]] = []
    for title in sorted(groups, key=_importance):
        lines = groups[title]
        if len(lines) > MOST_LINES:
            lines = sorted(lines, key=lambda line: float(line.y[-1]))
        parts = [lines[i : i + MOST_LINES] for i in range(0, len(lines), MOST_LINES)]
        for number, part in enumerate(parts):
            start = number * MOST_LINES
            place = f", {start + 1} to {start + len(part)} of {len(lines)}, lowest first"
            chart = f"{title}{place if len(parts) > 1 else ''}", part
            (further if number else first).append(chart)
    return [*first, *further]


def _texts(run: RunReport, noise: float | None) -> list[Html]:
    lines = []
    if run.step is not None:
        is_best = run.is_of_checkpoint and os.path.basename(run.checkpoint or "") == BEST
        chosen = ", chosen as the best" if is_best else ""
        lines.append(f"The evaluated weights are those after step {run.step}{chosen}.")
    sets = run.validation_sets
    trend = trend_of(run.scalars.get("bbox/AP", {}), noise) if len(sets) == 1 else None
    if trend is not None:
        text = str(trend)
        lines.append(f"{text[0].upper()}{text[1:]}.")
    times = [seconds for seconds in run.scalars.get("time", {}).values() if seconds > 0]
    if times:
        median = sorted(times)[len(times) // 2]
        images = run.cfg.SOLVER.IMS_PER_BATCH
        lines.append(
            f"A step of {images} images took {median:.2g} s (median), {images / median:.1f} images "
            "per second."
        )
    return [tag("p", line) for line in lines]


def _groups(scalars: Series) -> dict[str, list[Line]]:
    """Return the lines of each chart by its title."""
    groups: dict[str, list[Line]] = {}
    for name, values in scalars.items():
        if not name.endswith(INTERVAL_ENDS):
            title, line = _title_and_line(name)
            groups.setdefault(title, []).append(Line(line, list(values), list(values.values())))
    return groups


def _title_and_line(name: str) -> tuple[str, str]:
    """Return the chart of a scalar, and its name in the legend."""
    folder, _, last = name.rpartition("/")
    if last.startswith("AP-"):
        return f"{folder}: AP of classes", last.removeprefix("AP-")
    if last in SIZES:
        return f"{folder}: AP of sizes", last
    if last in MAIN:
        return f"{folder}: AP", last
    if "loss" in last:
        return last, "validation" if folder.endswith("validation") else folder or "training"
    return name, name


def _chart(title: str, lines: list[Line], step: int | None) -> Html:
    values = [v for line in lines for v in line.y]
    steps = [s for line in lines for s in line.x]
    marked = [line._replace(mark=_mark(line, step)) for line in lines]
    return line_chart(marked, axis_of("step", steps), axis_of("", values), title=title)


def _mark(line: Line, step: int | None) -> tuple[float, float] | None:
    if step is None:
        return None
    value = dict(zip(line.x, line.y, strict=True)).get(step, math.nan)
    return (step, float(value)) if math.isfinite(value) else None
