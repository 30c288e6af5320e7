"""Config, versions, command and seed of a run."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any

import torch

import retina_plugin
from retina_plugin.engine.resume import CONFIG
from retina_plugin.report.page.html import Html, note, section, table, tag
from retina_plugin.report.page.run_report import RunReport

LIBRARIES = ("torchvision", "lightning", "detectron2", "numpy", "pycocotools", "pillow")


def run_section(run: RunReport, prefix: str) -> Html:
    """Build the section."""
    solver = run.cfg.SOLVER
    rows: list[list[Any]] = [
        ["folder", run.folder],
        ["repeat the run", f"retina train --config-file {_config_file(run)} OUTPUT_DIR again"],
        ["seed", run.cfg.SEED],
        ["planned steps", f"{solver.MAX_ITER} of {solver.IMS_PER_BATCH} images"],
        ["evaluated checkpoint", run.checkpoint or "none"],
        ["training data", _fingerprint(run)],
        ["versions when this page was made", ", ".join(_versions())],
    ]
    with open(os.path.join(run.folder, CONFIG), encoding="utf-8") as file:
        config = file.read()
    return section(
        f"{prefix}run",
        "The run",
        table([], rows, caption="How the run was made", first_is_name=False),
        tag("details", tag("summary", CONFIG), tag("pre", config, tabindex=0)),
        note("The run folder does not record the versions that trained the model."),
    )


def _config_file(run: RunReport) -> str:
    """Return the config that repeats the run.

    After a run with a time budget, this is ``config_final.yaml`` with the number of its steps.
    """
    final = os.path.join(run.folder, "config_final.yaml")
    return final if os.path.isfile(final) else os.path.join(run.folder, CONFIG)


def _fingerprint(run: RunReport) -> str:
    data = run.metadata.get("training_data")
    if not isinstance(data, dict):
        return ", ".join(run.cfg.DATASETS.TRAIN)
    return (
        f"{', '.join(run.cfg.DATASETS.TRAIN)}: {data.get('images')} images, {data.get('boxes')} "
        f"boxes, SHA-256 {str(data.get('sha256'))[:16]}"
    )


def _versions() -> list[str]:
    found = [
        f"retina_plugin {retina_plugin.__version__}",
        f"torch {torch.__version__}",
        f"Python {platform.python_version()}",
    ]
    for name in LIBRARIES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
