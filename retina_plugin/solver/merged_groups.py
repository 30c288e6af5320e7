"""Load optimizer states that version 0.1 wrote on Lightning.

That version merged all parameter groups of equal learning rate and weight decay.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

Groups = Sequence[Sequence[nn.Parameter]]


def read_merged_groups(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> None:
    """Let ``optimizer.load_state_dict`` also accept a state whose groups are merged.

    Args:
        optimizer: a new optimizer, whose groups still have the learning rates of the config.
        parameters: all parameters of the model, in the order of ``model.parameters()``.
    """
    index = {parameter: i for i, parameter in enumerate(parameters)}
    merged: dict[tuple[float, float], list[nn.Parameter]] = {}
    for group in optimizer.param_groups:
        merged.setdefault((group["lr"], group["weight_decay"]), []).extend(group["params"])
    if len(merged) < len(optimizer.param_groups):
        members = [sorted(params, key=index.__getitem__) for params in merged.values()]
        old_groups = sorted(members, key=lambda params: index[params[0]])
        new_groups = [group["params"] for group in optimizer.param_groups]
        optimizer.register_load_state_dict_pre_hook(
            partial(_split, old_groups=old_groups, new_groups=new_groups)
        )


def _split(
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    *,
    old_groups: Groups,
    new_groups: Groups,
) -> dict[str, Any] | None:
    """Return the state with the groups of the optimizer instead of the merged groups.

    Returns None if the groups of the state are not merged; PyTorch then loads it unchanged.
    """
    saved = state["param_groups"]
    if [len(group["params"]) for group in saved] != [len(params) for params in old_groups]:
        return None
    group_of = {p: g for g, params in zip(saved, old_groups, strict=True) for p in params}
    id_of = {
        p: saved_id
        for group, params in zip(saved, old_groups, strict=True)
        for saved_id, p in zip(group["params"], params, strict=True)
    }
    groups = [
        {**group_of[params[0]], "params": [id_of[p] for p in params]} for params in new_groups
    ]
    return {**state, "param_groups": groups}
