"""Read ``metrics.json`` of a run, and add values to an evaluation that is already written."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from retina_plugin.config.files import write_atomically

METRICS = "metrics.json"
METRIC = re.compile("(^|/)(bbox|validation)/")  # names of what evaluations log


def read_series(folder: str, key: str, sets: Sequence[str]) -> dict[int, float]:
    """Read the values that evaluations during training have logged.

    Values after step 1 are left out: evaluations outside of training are logged there. For a step
    that was repeated after ``--resume``, the last value is used.

    Args:
        folder: ``OUTPUT_DIR`` of the run.
        key: the name of a metric, such as "bbox/AP".
        sets: the names of the validation sets. For several sets, the mean is returned.

    Returns:
        {completed steps: value}, ascending, without NaN; empty if nothing was logged.
    """
    keys = [key] if len(sets) == 1 else [f"{name}/{key}" for name in sets]
    series = {}
    for line in _parsed(_lines(folder)):
        values = [line[k] for k in keys if not math.isnan(line.get(k, math.nan))]
        if values and line["iteration"] > 0:
            series[line["iteration"] + 1] = sum(values) / len(values)
    return dict(sorted(series.items()))


def read_scalars(folder: str) -> dict[str, dict[int, float]]:
    """Read all scalars of ``metrics.json``.

    Metrics after step 1 are left out: evaluations outside of training are logged there.

    Args:
        folder: ``OUTPUT_DIR`` of the run.

    Returns:
        {name: {completed steps: value}}, by name and steps, without NaN. For a step that was
        repeated after ``--resume``, the last value is used.
    """
    found: dict[str, dict[int, float]] = {}
    for line in _parsed(_lines(folder)):
        for name, value in line.items():
            is_outside = line["iteration"] == 0 and METRIC.search(name)
            is_number = type(value) in (int, float) and math.isfinite(value)
            if name != "iteration" and is_number and not is_outside:
                found.setdefault(name, {})[line["iteration"] + 1] = float(value)
    return {name: dict(sorted(values.items())) for name, values in sorted(found.items())}


def add_to_evaluation(folder: str, key: str, values: Mapping[str, float], *, step: int) -> None:
    """Add values to the line of an evaluation in ``metrics.json``.

    It is the last line with ``key`` after ``step`` steps, or else the last line with ``key``. If no
    line has ``key``, nothing is done.

    Args:
        folder: ``OUTPUT_DIR`` of the run.
        key: a metric of the evaluation.
        values: name -> value.
        step: the number of steps of the weights.

    Raises:
        DiskError: the file cannot be written; it is unchanged.
    """
    lines = _lines(folder)
    found = [i for i, line in enumerate(lines) if key in _parse(line)]
    at_step = [i for i in found if _parse(lines[i])["iteration"] == step - 1]
    if not found:
        return
    number = (at_step or found)[-1]
    rounded = {name: float(f"{value:.7g}") for name, value in values.items()}
    lines[number] = json.dumps({**_parse(lines[number]), **rounded}, sort_keys=True) + "\n"
    content = "".join(lines).encode("utf-8", errors="surrogateescape")
    write_atomically(os.path.join(folder, METRICS), content)


def _lines(folder: str) -> list[str]:
    path = os.path.join(folder, METRICS)
    if not os.path.isfile(path):
        return []
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return file.readlines()


def _parsed(lines: Sequence[str]) -> list[dict[str, Any]]:
    return [found for found in map(_parse, lines) if found]


def _parse(line: str) -> dict[str, Any]:
    """Return the scalars of a line; empty for the incomplete line of a killed run."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("iteration"), int) else {}
