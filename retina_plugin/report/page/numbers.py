"""Format numbers for the report."""

from __future__ import annotations

import math

from retina_plugin.evaluation.bootstrap import Interval
from retina_plugin.report.page.html import Html, join, tag

NOTHING = "-"


def number(value: float | None, digits: int = 1) -> str:
    """Format a number; a dash for None, NaN and infinity."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def percent(value: float) -> str:
    """Format a share in 0..1 as percent."""
    return NOTHING if not math.isfinite(value) else f"{value:.0%}"


def with_interval(value: float | None, interval: Interval | None) -> Html:
    """Format a number with the ends of its interval below it."""
    if interval is None or value is None or not math.isfinite(value):
        return join(number(value))
    ends = f"{interval.low:.1f} to {interval.high:.1f}"
    return join(number(value), tag("span", ends, class_="interval"))
