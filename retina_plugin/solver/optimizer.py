"""Build the optimizer from a config."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from retina_plugin.solver.merged_groups import read_merged_groups
from retina_plugin.solver.parameter_groups import parameter_groups


def build_optimizer(model: nn.Module, cfg: Any) -> torch.optim.Optimizer:
    """Build SGD or AdamW, as ``MODEL.RETINA_PLUGIN.OPTIMIZER`` says, from :func:`parameter_groups`.

    The optimizer does not clip gradients; see :mod:`retina_plugin.solver.clipping`.

    Args:
        model: any module; its frozen parameters are skipped.
        cfg: a config of either host.

    Raises:
        ValueError: an unknown optimizer, all parameters are frozen, or the learning rate of the
            backbone has a factor but the model has no backbone.
    """
    solver, name = cfg.SOLVER, cfg.MODEL.RETINA_PLUGIN.OPTIMIZER
    groups = parameter_groups(model, cfg)
    if name == "SGD":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(
            groups, lr=solver.BASE_LR, momentum=solver.MOMENTUM, nesterov=solver.NESTEROV
        )
    elif name == "AdamW":
        # by default, PyTorch loops over the parameters on a CPU: equal results, but slower
        optimizer = torch.optim.AdamW(groups, lr=solver.BASE_LR, foreach=True)
    else:
        raise ValueError(f"MODEL.RETINA_PLUGIN.OPTIMIZER must be SGD or AdamW, found {name!r}")
    read_merged_groups(optimizer, list(model.parameters()))
    return optimizer
