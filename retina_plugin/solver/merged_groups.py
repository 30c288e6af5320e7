"""Read optimizer states of version 0.1 on Lightning, which merged groups of equal learning rate and
weight decay."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

Groups = Sequence[Sequence[nn.Parameter]]


def read_merged_groups(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> None:
    """Let ``optimizer.load_state_dict`` also take a state whose groups are merged.

    Args:
        optimizer: just made, so that its groups have the numbers of the config.
        parameters: of the model, in its order.
    """
    place = {parameter: i for i, parameter in enumerate(parameters)}
    merged: dict[tuple[float, float], list[nn.Parameter]] = {}
    for group in optimizer.param_groups:
        merged.setdefault((group["lr"], group["weight_decay"]), []).extend(group["params"])
    if len(merged) < len(optimizer.param_groups):
        members = [sorted(params, key=place.__getitem__) for params in merged.values()]
        theirs = sorted(members, key=lambda params: place[params[0]])
        ours = [group["params"] for group in optimizer.param_groups]
        optimizer.register_load_state_dict_pre_hook(partial(_split, ours=ours, theirs=theirs))


def _split(
    optimizer: torch.optim.Optimizer, state: dict[str, Any], *, ours: Groups, theirs: Groups
) -> dict[str, Any] | None:
    """The state with the groups of the optimizer; None, which takes it as it is, if its groups are
    not the merged ones."""
    saved = state["param_groups"]
    if [len(group["params"]) for group in saved] != [len(params) for params in theirs]:
        return None
    group_of = {p: g for g, params in zip(saved, theirs, strict=True) for p in params}
    number_of = {
        p: number
        for group, params in zip(saved, theirs, strict=True)
        for number, p in zip(group["params"], params, strict=True)
    }
    groups = [{**group_of[params[0]], "params": [number_of[p] for p in params]} for params in ours]
    return {**state, "param_groups": groups}
