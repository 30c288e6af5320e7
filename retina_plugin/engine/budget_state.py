"""Read from a checkpoint how far a run is, with or without a time budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def budget_state(cfg: Any, checkpoint: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the state of the budget in a checkpoint; None if config or checkpoint has no budget.

    The state comes from :meth:`retina_plugin.engine.budget.Budget.state_dict`.
    """
    if not cfg.MODEL.RETINA_PLUGIN.SOLVER.MINUTES:
        return None
    found = checkpoint.get("budget")
    return found if isinstance(found, Mapping) else None


def is_finished(cfg: Any, checkpoint: Mapping[str, Any], *, step: int) -> bool:
    """Return whether the run of a config has no step left after a checkpoint.

    Args:
        cfg: the config of the run.
        checkpoint: a checkpoint of the run.
        step: the number of steps of the checkpoint.
    """
    state = budget_state(cfg, checkpoint)
    if state is None:
        return step >= int(cfg.SOLVER.MAX_ITER)
    _, steps_left, *_ = state["decision"]
    seconds = cfg.MODEL.RETINA_PLUGIN.SOLVER.MINUTES * 60
    return bool(steps_left == 0 and seconds <= state["seconds"])


def planned_steps(cfg: Any, checkpoint: Mapping[str, Any]) -> str:
    """Return the number of steps of the run of a checkpoint, as text: "500" or "about 500"."""
    state = budget_state(cfg, checkpoint)
    if state is None:
        return str(cfg.SOLVER.MAX_ITER)
    steps, steps_left, *_ = state["decision"]
    return f"about {steps + steps_left}"
