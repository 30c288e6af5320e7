"""Where the results of an evaluation lie below ``OUTPUT_DIR``, and how they are printed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

RESULTS_FILE = "coco_instances_results.json"


def results_folder(cfg: Any, name: str) -> str:
    """``inference`` for the only test set, ``inference/<name>`` for one of several."""
    folder = os.path.join(cfg.OUTPUT_DIR, "inference")
    return (
        folder
        if len(cfg.DATASETS.TEST) == 1
        else os.path.join(folder, re.sub(r"[^\w.-]+", "_", name))
    )


def results_table(
    metrics: Mapping[str, float], reasons: Mapping[str, str], notes: Sequence[str] = ()
) -> str:
    """COCO metrics of one data set as text: one row of AP and its family, then AP of each class,
    then notes.

    Args:
        metrics: ``{"AP": 71.2, ..., "AP-cat": 70.1}``.
        reasons: of metrics that are NaN.
        notes: lines on what the metrics depend on.
    """
    summary = {name: value for name, value in metrics.items() if not name.startswith("AP-")}
    classes = {
        name.removeprefix("AP-"): value for name, value in metrics.items() if name.startswith("AP-")
    }
    lines = [_row(summary.keys()), _row(f"{value:.1f}" for value in summary.values())]
    width = max(map(len, classes), default=0)
    for name, value in classes.items():
        reason = f": {reasons[f'AP-{name}']}" if f"AP-{name}" in reasons else ""
        lines.append(f"{'AP of ' + name:<{width + 6}}  {value:5.1f}{reason}")
    for reason in dict.fromkeys(reasons[name] for name in summary if name in reasons):
        lines.append(
            f"{', '.join(name for name in summary if reasons.get(name) == reason)} nan: {reason}"
        )
    return "\n".join([*lines, *notes])


def _row(cells: Any) -> str:
    return "  ".join(f"{cell:>5}" for cell in cells)
