"""Group trainable parameters by learning rate and weight decay."""

from __future__ import annotations

from typing import Any

from torch import nn

from retina_plugin.solver.backbone_rates import backbone_lr_factors

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


def parameter_groups(model: nn.Module, cfg: Any) -> list[dict[str, Any]]:
    """Return the parameter groups of an optimizer.

    Groups and their order are as in Detectron2, so optimizer states of its checkpoints load.
    With ``BACKBONE_LR_FACTOR`` or ``LAYER_DECAY``, there are more groups: one for each learning
    rate; see :mod:`retina_plugin.solver.backbone_rates`.
    Norm parameters are not grouped with other weights even if both have the same weight decay. The
    same holds for biases if ``WEIGHT_DECAY_BIAS`` is set.

    Args:
        model: any module; frozen parameters are skipped. A parameter shared by several modules is
            taken once, at its first place.
        cfg: a config of either host.

    Returns:
        A dict with "params", "lr" and "weight_decay" for each group; no group is empty.

    Raises:
        ValueError: see :func:`retina_plugin.solver.backbone_rates.backbone_lr_factors`.
    """
    solver, factors = cfg.SOLVER, backbone_lr_factors(model, cfg.MODEL.RETINA_PLUGIN.SOLVER)
    groups: dict[tuple[float, float | None], list[nn.Parameter]] = {}
    seen: set[nn.Parameter] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                lr, decay = _rates(module, name, solver)
                rates = lr * factors.get(parameter, 1.0), decay
                groups.setdefault(rates, []).append(parameter)
    return [
        {
            "params": params,
            "lr": lr,
            "weight_decay": solver.WEIGHT_DECAY if decay is None else decay,
        }
        for (lr, decay), params in groups.items()
    ]


def _rates(module: nn.Module, name: str, solver: Any) -> tuple[float, float | None]:
    """Return learning rate and weight decay of a parameter; None stands for ``WEIGHT_DECAY``."""
    decay = solver.WEIGHT_DECAY_NORM if isinstance(module, NORM_LAYERS) else None
    if name != "bias":
        return solver.BASE_LR, decay
    if solver.WEIGHT_DECAY_BIAS is not None:
        decay = solver.WEIGHT_DECAY_BIAS
    return solver.BASE_LR * solver.BIAS_LR_FACTOR, decay
