"""Check before a run that a training step fits into the memory; for both hosts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from retina_plugin.data.samples import TrainingDataset, read_without_pixels
from retina_plugin.data.transforms import TransformChain
from retina_plugin.engine.host import Records, Request
from retina_plugin.engine.plan.machine import this_machine
from retina_plugin.engine.plan.measured_step import require_memory
from retina_plugin.modeling.build_backbone import BACKBONE_REGISTRY

SIZE = {"height", "width"}
DRAWN = 64  # number of training images whose sizes are drawn
# no step is measured if this is free: bytes per pixel of the batch, several times those of a
# ResNet-101, and bytes of the weights, their gradients and the optimizer
AMPLE_PER_PIXEL, AMPLE = 12_000, 6 * 2**30


def check_step_memory(cfg: Any, request: Request, records_of: Callable[[str], Records]) -> None:
    """Check that a training step of this machine fits into the memory.

    Steps with a model or backbone of Detectron2, with outside transforms that need pixels, or on
    records without sizes are not checked.

    Args:
        cfg: a config whose ``auto`` values are resolved.
        request: the flags of the run.
        records_of: returns the records of a data set, given its name.

    Raises:
        ConfigError: see :func:`retina_plugin.engine.plan.measured_step.require_memory`.
    """
    transforms = TransformChain.from_config(cfg)
    known = cfg.MODEL.META_ARCHITECTURE == "FocalRetinaNet"
    if not known or cfg.MODEL.BACKBONE.NAME not in BACKBONE_REGISTRY or transforms.needs_pixels:
        return
    records = [r for name in cfg.DATASETS.TRAIN for r in records_of(name) if set(r) >= SIZE]
    if not records:
        return
    height, width = _typical_size(cfg, transforms, records)
    local = cfg.clone()
    local.defrost()
    local.SOLVER.IMS_PER_BATCH = _images_in_memory(cfg, request)
    free = this_machine(cfg.MODEL.DEVICE).memory
    if height * width * local.SOLVER.IMS_PER_BATCH * AMPLE_PER_PIXEL + AMPLE > free:
        with torch.autocast("cpu", enabled=cfg.SOLVER.AMP.ENABLED):
            require_memory(local, height=height, width=width, free=free)


def _images_in_memory(cfg: Any, request: Request) -> int:
    """Return the images of a step on one GPU, or on the processes of this machine."""
    on_gpu = cfg.MODEL.DEVICE.startswith("cuda")
    shares = request.num_machines * (max(request.num_gpus, 1) if on_gpu else 1)
    return max(int(cfg.SOLVER.IMS_PER_BATCH) // shares, 1)


def _typical_size(cfg: Any, transforms: TransformChain, records: Records) -> tuple[int, int]:
    """Return height and width of the training image whose number of pixels is the median."""
    count = len(records)
    places = np.linspace(0, count - 1, min(count, DRAWN)).round().astype(int)
    # sizes do not depend on boxes, and the host's boxes may have another format
    drawn = [{**records[place], "annotations": []} for place in places]
    images = TrainingDataset(
        drawn,
        transforms=transforms,
        read=read_without_pixels,
        input_format=cfg.INPUT.FORMAT,
        seed=0,
    )
    shapes = [
        images.sample(index, np.random.default_rng(index))["image"].shape[:2]
        for index in range(len(drawn))
    ]
    middle: tuple[int, int] = sorted(shapes, key=np.prod)[len(shapes) // 2]
    return middle
