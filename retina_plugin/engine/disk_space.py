"""Check before training that the disk has enough space for the files of the run."""

from __future__ import annotations

import os
from typing import Any

from torch import Tensor, nn

from retina_plugin.config.disk import DiskError, format_size, free_space

IMAGE_BYTES = 2_000_000  # an image that shows detections beside ground truth, about 1300x800 each
OTHER_BYTES = 1_000_000  # config.yaml, log.txt, and the start of metrics.json and of the events
TENSOR_RECORD_BYTES = 500  # name, shape and offset of a tensor in a checkpoint
LOG_BYTES = 2_500  # metrics.json, events and log.txt for 20 steps


def require_space(cfg: Any, model: nn.Module, *, first_step: int) -> None:
    """Check that all checkpoints and images of a run fit on the disk of ``OUTPUT_DIR``.

    Args:
        cfg: the config of the run.
        model: the model, with unused parameters already frozen.
        first_step: the first training step; above 0 for a resumed run.

    Raises:
        DiskError: the free space is too small. The message has both sizes, and the keys that change
            the needed space.
    """
    solver, size = cfg.SOLVER, checkpoint_size(cfg, model)
    steps = solver.MAX_ITER - first_step
    checkpoints = number_of_checkpoints(cfg, first_step)
    images = 1 + (steps // cfg.VIS_PERIOD if cfg.VIS_PERIOD > 0 else 0)
    need = checkpoints * size + images * IMAGE_BYTES + steps // 20 * LOG_BYTES + OTHER_BYTES
    free = free_space(os.path.abspath(cfg.OUTPUT_DIR))
    if need <= free:
        return
    others = f" and {images} images (VIS_PERIOD {cfg.VIS_PERIOD})" if images > 1 else ""
    raise DiskError(
        f"OUTPUT_DIR {cfg.OUTPUT_DIR}: {format_size(free)} are free, and this run needs "
        f"{format_size(need)} for {checkpoints} checkpoints of {format_size(size)} (one every "
        f"SOLVER.CHECKPOINT_PERIOD {solver.CHECKPOINT_PERIOD} of SOLVER.MAX_ITER {solver.MAX_ITER} "
        f"steps){others}. Make room, raise SOLVER.CHECKPOINT_PERIOD, or set OUTPUT_DIR to a folder "
        "on another disk."
    )


def number_of_checkpoints(cfg: Any, first_step: int) -> int:
    """Return how many checkpoints a run writes from ``first_step`` on.

    One is written after each ``CHECKPOINT_PERIOD`` and one at the end; both hosts keep all of them.
    """
    period: int = cfg.SOLVER.CHECKPOINT_PERIOD
    steps: int = cfg.SOLVER.MAX_ITER
    return steps // period - first_step // period + 1


def checkpoint_size(cfg: Any, model: nn.Module) -> int:
    """Estimate the size of a checkpoint in bytes: weights, buffers and optimizer state."""
    tensors = list(model.state_dict().values())
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    copies = 2 if cfg.MODEL.RETINA_PLUGIN.OPTIMIZER == "AdamW" else int(cfg.SOLVER.MOMENTUM > 0)
    records = len(tensors) + copies * len(trainable)
    return (
        sum(map(_bytes, tensors))
        + copies * sum(map(_bytes, trainable))
        + TENSOR_RECORD_BYTES * records
    )


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
