"""Build the config and the model of every row before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from recipes.comparison_file import BASE, Comparison, Row
from retina_plugin.config import leaves
from retina_plugin.config.errors import ConfigError
from retina_plugin.config.keys import MINUTES, NODE
from retina_plugin.engine.host import Host, Request
from retina_plugin.engine.prepare import prepare
from retina_plugin.engine.process import user_message
from retina_plugin.engine.read_config import merge
from retina_plugin.modeling.build import build_model

# Overrides of every run: one process with one thread, which is evaluated once, after its last step.
FIXED = {
    "MODEL.DEVICE": "cpu",
    "DATALOADER.NUM_WORKERS": "0",
    "TEST.EVAL_PERIOD": "0",
    f"{NODE}.SOLVER.PATIENCE": "0",
    MINUTES: "0.0",
}
# Keys that the comparison sets, so that a row cannot.
RESERVED = (*FIXED, "OUTPUT_DIR", "SEED", "SOLVER.MAX_ITER")
RESERVED_GROUPS = ("DATASETS.", f"{NODE}.DATASETS.")


@dataclass(frozen=True)
class CheckedRow:
    """A row whose config and model can be built.

    Attributes:
        row: the row.
        options: overrides of the base for every seed and length, ``[KEY, VALUE, ...]``.
        cfg: the merged config; ``auto`` values are not resolved.
        resolved: the frozen config that a run would have.
    """

    row: Row
    options: tuple[str, ...]
    cfg: Any
    resolved: Any


def check_rows(comparison: Comparison, data: Sequence[str], host: Host) -> list[CheckedRow]:
    """Build the config and the model of each row, as the run does.

    Args:
        comparison: the comparison.
        data: the overrides that set the data.
        host: the host of the runs.

    Raises:
        ConfigError: rows that cannot be used, each with the reason.
    """
    checked: list[CheckedRow] = []
    problems: list[str] = []
    for row in tqdm(comparison.rows, desc="check", unit="row", leave=False):
        try:
            checked.append(_check(row, comparison.base, data, host))
            _require_change(checked)
        except Exception as error:
            message = user_message(error)
            if message is None:  # an error of the code
                raise
            message = message.removeprefix("command line: ")
            problems.append(f"{row.place}: row {row.name}: {message}")
            if row.name == BASE:
                break
    if problems:
        raise ConfigError("\n".join(problems))
    return checked


def _check(row: Row, base: str, data: Sequence[str], host: Host) -> CheckedRow:
    _require_free_keys(row.overrides[::2])
    fixed = (word for pair in FIXED.items() for word in pair)
    options = (*row.overrides, *fixed, *data)
    cfg = merge(host.get_cfg(), base, options)
    resolved = prepare(cfg.clone(), Request(), host, main=False).cfg
    if resolved.MODEL.WEIGHTS:
        host.weights_file(resolved.MODEL.WEIGHTS)
    build_model(resolved)
    return CheckedRow(row, options, cfg, resolved)


def _require_free_keys(keys: Iterable[str]) -> None:
    for key in keys:
        if key in RESERVED or key.startswith(RESERVED_GROUPS):
            raise ConfigError(f"{key} is the same in all runs of a comparison: remove it")


def _require_change(checked: Sequence[CheckedRow]) -> None:
    """Check that the last row has another config than the rows before it."""
    last = dict(leaves(checked[-1].cfg))
    for earlier in checked[:-1]:
        if dict(leaves(earlier.cfg)) == last:
            raise ConfigError(f"the config is that of row {earlier.row.name}: remove one of them")
