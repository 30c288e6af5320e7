"""Where results lie below ``OUTPUT_DIR``, the same on either host."""

from __future__ import annotations

import os
import re
from typing import Any


def write_atomically(path: str, text: str) -> None:
    """Write a text file whole or not at all."""
    with open(path + ".part", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".part", path)


def results_folder(cfg: Any, name: str) -> str:
    """``inference`` for the only test set, ``inference/<name>`` for one of several."""
    folder = os.path.join(cfg.OUTPUT_DIR, "inference")
    return folder if len(cfg.DATASETS.TEST) == 1 else os.path.join(folder, re.sub(r"[^\w.-]+", "_", name))


def results_table(results: dict[str, Any]) -> str:
    """COCO metrics as text: one row of AP and its family, then AP of each class.

    Args:
        results: ``{"bbox": {"AP": 71.2, ..., "AP-cat": 70.1}}``, or that for each test set.
    """
    if "bbox" not in results:
        return "\n".join(f"{name}\n{results_table(found)}" for name, found in results.items() if found)
    metrics = results["bbox"]
    summary = {name: value for name, value in metrics.items() if not name.startswith("AP-")}
    classes = {name.removeprefix("AP-"): value for name, value in metrics.items() if name.startswith("AP-")}
    lines = [_row(summary.keys()), _row(f"{value:.1f}" for value in summary.values())]
    width = max(map(len, classes), default=0)
    lines += [f"{'AP of ' + name:<{width + 6}}  {value:5.1f}" for name, value in classes.items()]
    return "\n".join(lines)


def _row(cells: Any) -> str:
    return "  ".join(f"{cell:>5}" for cell in cells)
