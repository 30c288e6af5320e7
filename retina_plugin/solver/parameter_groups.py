"""Group the parameters that learn by learning rate and weight decay."""

from __future__ import annotations

from typing import Any

from torch import nn

NORM_LAYERS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
)


def parameter_groups(model: nn.Module, solver: Any) -> list[dict[str, Any]]:
    """Groups for an optimizer, with the members and the order of Detectron2's, so that optimizer
    states of its checkpoints load.

    Parameters of norms and biases have a group of their own also where their weight decay happens
    to equal that of weights.

    Args:
        model: any module. A parameter that it has several times is taken once, in the place where
            it comes first.
        solver: the ``SOLVER`` node of a config.

    Returns:
        For each group "params", "lr" and "weight_decay"; no group is empty.
    """
    groups: dict[tuple[float, float | None], list[nn.Parameter]] = {}
    seen: set[nn.Parameter] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                groups.setdefault(_rates(module, name, solver), []).append(parameter)
    return [
        {
            "params": params,
            "lr": lr,
            "weight_decay": solver.WEIGHT_DECAY if decay is None else decay,
        }
        for (lr, decay), params in groups.items()
    ]


def _rates(module: nn.Module, name: str, solver: Any) -> tuple[float, float | None]:
    """Learning rate and weight decay of a parameter; the decay is None where it is that of
    weights."""
    decay = solver.WEIGHT_DECAY_NORM if isinstance(module, NORM_LAYERS) else None
    if name != "bias":
        return solver.BASE_LR, decay
    if solver.WEIGHT_DECAY_BIAS is not None:
        decay = solver.WEIGHT_DECAY_BIAS
    return solver.BASE_LR * solver.BIAS_LR_FACTOR, decay
