"""The disk space that a training run needs, compared with what is free before it starts."""

from __future__ import annotations

import os
from typing import Any

from torch import nn

from retina_plugin.config.disk import DiskError, format_size, free_space

IMAGE_BYTES = 2_000_000  # bytes of a picture of about 1300x800 pixels beside its ground truth
OTHER_BYTES = 1_000_000  # config.yaml, log.txt, and the start of metrics.json and of the events
TENSOR_RECORD_BYTES = 500  # bytes of a tensor's name, shape and place in a checkpoint
LOG_BYTES = 2_500  # bytes in metrics.json, events and log.txt of every 20 steps


def require_space(cfg: Any, model: nn.Module, *, first_step: int) -> None:
    """Make sure that all checkpoints and pictures of a training run fit on the disk of
    ``OUTPUT_DIR``.

    Args:
        cfg: frozen.
        model: which of its parameters learn is decided.
        first_step: where the run begins; above 0 for a resumed one.

    Raises:
        DiskError: they do not; the message names the folder, what is free and needed, and the keys
            that change it.
    """
    solver, size = cfg.SOLVER, checkpoint_size(cfg, model)
    steps = solver.MAX_ITER - first_step
    checkpoints = number_of_checkpoints(cfg, first_step)
    pictures = 1 + (steps // cfg.VIS_PERIOD if cfg.VIS_PERIOD > 0 else 0)
    need = checkpoints * size + pictures * IMAGE_BYTES + steps // 20 * LOG_BYTES + OTHER_BYTES
    free = free_space(os.path.abspath(cfg.OUTPUT_DIR))
    if need <= free:
        return
    others = f" and {pictures} pictures (VIS_PERIOD {cfg.VIS_PERIOD})" if pictures > 1 else ""
    raise DiskError(
        f"OUTPUT_DIR {cfg.OUTPUT_DIR}: {format_size(free)} are free, and this run needs "
        f"{format_size(need)} for {checkpoints} "
        f"checkpoints of {format_size(size)} (one every SOLVER.CHECKPOINT_PERIOD "
        f"{solver.CHECKPOINT_PERIOD} of "
        f"SOLVER.MAX_ITER {solver.MAX_ITER} steps){others}. Make room, raise "
        "SOLVER.CHECKPOINT_PERIOD, or set OUTPUT_DIR to "
        "a folder on another disk."
    )


def number_of_checkpoints(cfg: Any, first_step: int) -> int:
    """One after each period, and the last; both hosts keep all of them."""
    period = cfg.SOLVER.CHECKPOINT_PERIOD
    return cfg.SOLVER.MAX_ITER // period - first_step // period + 1


def checkpoint_size(cfg: Any, model: nn.Module) -> int:
    """Bytes of a checkpoint: all weights, and the optimizer's numbers of those that learn."""
    tensors = list(model.state_dict().values())
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    copies = 2 if cfg.MODEL.RETINA_PLUGIN.OPTIMIZER == "AdamW" else int(cfg.SOLVER.MOMENTUM > 0)
    records = len(tensors) + copies * len(learning)
    return (
        sum(map(_bytes, tensors))
        + copies * sum(map(_bytes, learning))
        + TENSOR_RECORD_BYTES * records
    )


def _bytes(tensor: Any) -> int:
    return tensor.numel() * tensor.element_size()
