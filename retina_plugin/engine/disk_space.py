"""Check before training that the disk has enough space for the files of the run."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn

from retina_plugin.config.disk import DiskError, format_size, free_space
from retina_plugin.data import validation_sets
from retina_plugin.engine.checkpoints import BEST
from retina_plugin.modeling.build import build_model

KEEP = "MODEL.RETINA_PLUGIN.SOLVER.KEEP"
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
    steps = max(solver.MAX_ITER - first_step, 0)  # a run with a time budget may take more
    checkpoints = number_of_checkpoints(cfg, first_step)
    images = 1 + (steps // cfg.VIS_PERIOD if cfg.VIS_PERIOD > 0 else 0)
    best = best_model_size(cfg, model)
    need = checkpoints * size + best + images * IMAGE_BYTES + steps // 20 * LOG_BYTES + OTHER_BYTES
    free = free_space(os.path.abspath(cfg.OUTPUT_DIR))
    if need <= free:
        return
    others = f" and {BEST} of {format_size(best)}" if best else ""
    others += f" and {images} images (VIS_PERIOD {cfg.VIS_PERIOD})" if images > 1 else ""
    raise DiskError(
        f"OUTPUT_DIR {cfg.OUTPUT_DIR}: {format_size(free)} are free, and this run needs "
        f"{format_size(need)} for {checkpoints} checkpoints of {format_size(size)} (one every "
        f"SOLVER.CHECKPOINT_PERIOD {solver.CHECKPOINT_PERIOD} of SOLVER.MAX_ITER {solver.MAX_ITER} "
        f"steps){others}. Make room, raise SOLVER.CHECKPOINT_PERIOD, set {KEEP} to the number of "
        "checkpoints to keep, or set OUTPUT_DIR to a folder on another disk."
    )


def require_space_for_checkpoint(cfg: Any, folder: str) -> None:
    """Check that the disk of a folder has room for one checkpoint, before a run is planned.

    Args:
        cfg: a complete config; its network is built.
        folder: it need not exist.

    Raises:
        DiskError: the free space is too small.
    """
    with torch.random.fork_rng():
        need = checkpoint_size(cfg, build_model(cfg)) + OTHER_BYTES
    free = free_space(os.path.abspath(folder))
    if need > free:
        raise DiskError(
            f"{folder or os.curdir}: {format_size(free)} are free, and one checkpoint of this run "
            f"needs {format_size(need)}. Make room, or choose a folder on another disk."
        )


def number_of_checkpoints(cfg: Any, first_step: int) -> int:
    """Return how many checkpoints of a run are on the disk at the same time.

    One is written after each ``CHECKPOINT_PERIOD`` steps after ``first_step``, and one at the end.
    With ``KEEP``, the oldest is removed after the next one is written.
    """
    period: int = cfg.SOLVER.CHECKPOINT_PERIOD
    steps: int = cfg.SOLVER.MAX_ITER
    keep: int = cfg.MODEL.RETINA_PLUGIN.SOLVER.KEEP
    periodic = max(steps // period - first_step // period, 0)
    return (min(periodic, keep + 1) if keep else periodic) + 1


def checkpoint_size(cfg: Any, model: nn.Module) -> int:
    """Estimate the size of a checkpoint in bytes: weights, averages and optimizer state."""
    tensors = list(model.state_dict().values())
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    copies = 2 if cfg.MODEL.RETINA_PLUGIN.OPTIMIZER == "AdamW" else int(cfg.SOLVER.MOMENTUM > 0)
    copies += int(cfg.MODEL.RETINA_PLUGIN.SOLVER.EMA)
    records = len(tensors) + copies * len(trainable)
    return (
        sum(map(_bytes, tensors))
        + copies * sum(map(_bytes, trainable))
        + TENSOR_RECORD_BYTES * records
    )


def best_model_size(cfg: Any, model: nn.Module) -> int:
    """Estimate the size of ``model_best.pth`` in bytes; 0 if the run writes none."""
    if not (cfg.TEST.EVAL_PERIOD and validation_sets(cfg)):
        return 0
    tensors = list(model.state_dict().values())
    return sum(map(_bytes, tensors)) + TENSOR_RECORD_BYTES * len(tensors)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
