"""Config, versions, command and seed of a run."""

from __future__ import annotations

import os
import shlex
from typing import Any

from retina_plugin.checkpoint import read_checkpoint
from retina_plugin.engine.checkpoints import FINAL
from retina_plugin.engine.resume import CONFIG
from retina_plugin.engine.run_record import read_starts, versions
from retina_plugin.report.page.html import Html, note, section, table, tag
from retina_plugin.report.page.run_report import RunReport

UNKNOWN = "not recorded: the run was started by an older version"


def run_section(run: RunReport, prefix: str) -> Html:
    """Build the section."""
    solver = run.cfg.SOLVER
    rows: list[list[Any]] = [
        ["folder", run.folder],
        ["repeat the run", _repeat(run)],
        ["seed", _seed(run)],
        ["planned steps", f"{solver.MAX_ITER} of {solver.IMS_PER_BATCH} images"],
        ["checkpoint", run.checkpoint or "none"],
        ["training data", _fingerprint(run)],
        *_starts(run),
    ]
    with open(os.path.join(run.folder, CONFIG), encoding="utf-8") as file:
        config = file.read()
    return section(
        f"{prefix}run",
        "The run",
        table([], rows, caption="How the run was made", first_is_name=False),
        tag("details", tag("summary", CONFIG), tag("pre", config, tabindex=0)),
        note("Relative paths of the config and the command start in the folder of the command."),
    )


def _starts(run: RunReport) -> list[list[Any]]:
    """Return the rows about each start of the training, and about this page if it was made with
    other versions."""
    starts, of_page = read_starts(run.folder), versions()
    if not starts:
        return [["trained with", UNKNOWN], ["this page was made with", _listed(of_page)]]
    rows: list[list[Any]] = []
    for start in starts:
        resumed = start.get("resumed_from")
        what = f"resumed from {resumed}" if resumed else "started"
        rows += [
            [f"{what}, {start.get('started')}", start.get("command")],
            ["in folder", start.get("folder")],
            ["on", _machine(start)],
            ["with", _listed(start.get("versions", {}))],
        ]
    changed = of_page.items() - starts[-1].get("versions", {}).items()
    if changed:
        rows.append(["this page was made with", _listed(of_page)])
    return rows


def _machine(start: dict[str, Any]) -> str:
    return (
        f"host {start.get('host')}, device {start.get('device')}, {start.get('threads')} threads on"
        f" {start.get('cores')} cores, processes: {start.get('processes')}"
    )


def _listed(found: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _seed(run: RunReport) -> str:
    """Return the seed; a run with SEED -1 has drawn one and keeps it in its last checkpoint."""
    if run.cfg.SEED >= 0:
        return str(run.cfg.SEED)
    path = os.path.join(run.folder, FINAL)
    drawn = read_checkpoint(path).get("seed") if os.path.isfile(path) else None
    return "drawn, unknown" if drawn is None else f"{drawn}, drawn because SEED is {run.cfg.SEED}"


def _repeat(run: RunReport) -> str:
    """Return the command that repeats the run.

    After a run with a time budget, its config is ``config_final.yaml`` with the number of its
    steps.
    """
    final = os.path.join(run.folder, "config_final.yaml")
    config = final if os.path.isfile(final) else os.path.join(run.folder, CONFIG)
    return shlex.join(["retina", "train", "--config-file", config, "OUTPUT_DIR", "again"])


def _fingerprint(run: RunReport) -> str:
    data = run.metadata.get("training_data")
    if not isinstance(data, dict):
        return ", ".join(run.cfg.DATASETS.TRAIN)
    return (
        f"{', '.join(run.cfg.DATASETS.TRAIN)}: {data.get('images')} images, {data.get('boxes')} "
        f"boxes, SHA-256 {str(data.get('sha256'))[:16]}"
    )
