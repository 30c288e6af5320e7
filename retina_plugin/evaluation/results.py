"""Folders and tables of evaluation results."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from retina_plugin.config.different_names import different_names
from retina_plugin.data import evaluated_sets, final_sets

RESULTS_FILE = "coco_instances_results.json"


def results_folder(cfg: Any, name: str) -> str:
    """Return the folder in ``OUTPUT_DIR`` for the results of a data set.

    It is ``inference`` if the run evaluates only this data set at its end, else
    ``inference/<name>``, with "_" for characters that folders cannot have.
    """
    folder = os.path.join(cfg.OUTPUT_DIR, "inference")
    if final_sets(cfg) == [name]:
        return folder
    return os.path.join(folder, _folder_names([*evaluated_sets(cfg), name])[name])


def _folder_names(names: Sequence[str]) -> dict[str, str]:
    """Return {name: name of its folder}. The second of two equal names gets the ending ".2"."""
    different = list(dict.fromkeys(names))
    folders = different_names(different, plain=lambda name: re.sub(r"[^\w.-]+|^\.+$", "_", name))
    return dict(zip(different, folders, strict=True))


def read_results(cfg: Any, name: str) -> list[dict[str, Any]]:
    """Read the detections of the last evaluation of a data set, in COCO's results format."""
    with open(os.path.join(results_folder(cfg, name), RESULTS_FILE), encoding="utf-8") as file:
        found: list[dict[str, Any]] = json.load(file)
    return found


def results_table(
    metrics: Mapping[str, float], reasons: Mapping[str, str], notes: Sequence[str] = ()
) -> str:
    """Format the COCO metrics of one data set: a row of averages, the AP of each class, notes.

    Args:
        metrics: ``{"AP": 71.2, ..., "AP-cat": 70.1}``, in percent.
        reasons: {name: reason} for metrics that are NaN.
        notes: lines to append.
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


def _row(cells: Iterable[str]) -> str:
    return "  ".join(f"{cell:>5}" for cell in cells)
