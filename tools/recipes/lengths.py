"""Choose the number of steps of each row, so that all rows train for the same CPU time.

The numbers are stored in ``comparison.json``, together with the configs. A comparison that was
stopped continues with the same numbers, and runs of different configs are never mixed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from recipes.checked_rows import CheckedRow
from recipes.comparison_file import Comparison, Row
from recipes.cost import StepCost, measure_base, measure_cost
from retina_plugin.config import leaves
from retina_plugin.config.errors import ConfigError
from retina_plugin.config.files import write_atomically
from retina_plugin.data import load_dataset
from retina_plugin.data.fingerprint import fingerprint
from retina_plugin.engine.run_budget import finished_config

STATE = "comparison.json"
NEW_FOLDER = "Choose another --output-dir, or delete the folder"


@dataclass(frozen=True)
class MeasuredRow:
    """A row with the number of steps that the CPU time allows.

    Attributes:
        checked: the row.
        cost: the cost of a training step.
        steps: number of training steps.
    """

    checked: CheckedRow
    cost: StepCost
    steps: int

    def options(self, seed: int) -> list[str]:
        """Return the overrides of a run.

        Keys that count steps are scaled with ``SOLVER.MAX_ITER``, so that the shape of the learning
        rate schedule is that of the config.
        """
        solver, scaled = self.checked.cfg.SOLVER, finished_config(self.checked.cfg, self.steps)
        warmup = round(solver.WARMUP_ITERS * self.steps / solver.MAX_ITER)
        lengths = {
            "SOLVER.MAX_ITER": self.steps,
            "SOLVER.STEPS": tuple(scaled.SOLVER.STEPS),
            "SOLVER.WARMUP_ITERS": warmup,
            "SEED": seed,
        }
        return [*self.checked.options, *(str(w) for pair in lengths.items() for w in pair)]


def measure_rows(
    comparison: Comparison, rows: Sequence[CheckedRow], folder: Path, host: str
) -> list[MeasuredRow]:
    """Measure the rows, except those that ``folder`` has already, and write the numbers there.

    Args:
        comparison: the comparison.
        rows: the base and the other rows.
        folder: the existing folder of the comparison.
        host: the host of the runs.

    Raises:
        ConfigError: the folder has a comparison with another host, length, data or config.
    """
    file = folder / STATE
    state: dict[str, Any] = {
        "host": host,
        "length": comparison.length,
        "data": _data(rows[0].cfg),
        "rows": {},
    }
    if file.is_file():
        state = _continued(json.loads(file.read_text(encoding="utf-8")), state, folder)
    known: dict[str, Any] = state["rows"]
    base = rows[0]
    for checked in tqdm(rows, desc="measure", unit="row", leave=False):
        row, config = checked.row, json.loads(json.dumps(dict(leaves(checked.cfg))))
        if row.folder in known:
            _require_same_row(known[row.folder], row, config, folder)
            continue
        if known:
            seconds = known[base.row.folder]["seconds"]
            cost = measure_cost(checked.resolved, base.resolved, base_seconds=seconds, host=host)
        else:
            cost = measure_base(base.resolved, host)
        known[row.folder] = {
            "overrides": list(row.overrides),
            "config": config,
            **cost._asdict(),
            "steps": _steps(comparison, cost),
        }
        write_atomically(str(file), json.dumps(state, indent=1))
    found = [known[checked.row.folder] for checked in rows]
    return [
        MeasuredRow(checked, StepCost(row["seconds"], row["ratio"]), row["steps"])
        for checked, row in zip(rows, found, strict=True)
    ]


def _require_same_row(
    earlier: Mapping[str, Any], row: Row, config: dict[str, Any], folder: Path
) -> None:
    """Check that a row is the same as in the earlier runs.

    Keys that did not exist then are ignored, because their defaults do not change a run.
    """
    where, now = f"row {row.name} in {folder}", {"overrides": list(row.overrides)}
    _require_equal({"overrides": earlier["overrides"]}, now, where)
    _require_equal(earlier["config"], {key: config.get(key) for key in earlier["config"]}, where)


def _steps(comparison: Comparison, cost: StepCost) -> int:
    if comparison.steps:
        return max(round(comparison.steps / cost.ratio), 1)
    return max(round(60 * comparison.minutes / cost.seconds), 1)


def _data(cfg: Any) -> dict[str, Any]:
    """Return the fingerprints of the images that all rows train on and are evaluated on."""
    sets = {"training": cfg.DATASETS.TRAIN, "evaluation": cfg.DATASETS.TEST}
    return {
        role: fingerprint(load_dataset(name).records for name in names)
        for role, names in sets.items()
    }


def _continued(earlier: dict[str, Any], state: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    for key in ("host", "length", "data"):
        _require_equal({key: earlier[key]}, {key: state[key]}, str(folder))
    return earlier


def _require_equal(earlier: Mapping[str, Any], now: Mapping[str, Any], where: str) -> None:
    """Check that a stopped comparison continues with the same values.

    Raises:
        ConfigError: a value differs; the message names the first one.
    """
    for key, value in earlier.items():
        if now[key] != value:
            raise ConfigError(
                f"{where}: {key} was {value} in the earlier runs and is {now[key]} now. "
                f"{NEW_FOLDER}"
            )
