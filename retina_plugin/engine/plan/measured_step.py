"""Measure the time and the memory of a training step of random weights on random images."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import Tensor, nn

from retina_plugin.config.disk import format_size
from retina_plugin.config.errors import ConfigError
from retina_plugin.modeling.build import build_model
from retina_plugin.modeling.retinanet import RetinaNet
from retina_plugin.solver import build_optimizer

TIMED_STEPS = 3
SIDE = 128  # of the image on which memory is measured, a multiple of the coarsest stride


def seconds_per_step(cfg: Any, *, height: int, width: int) -> float:
    """Measure a training step; each image has two boxes.

    Args:
        cfg: a checked config; a batch has ``SOLVER.IMS_PER_BATCH`` images.
        height, width: size of the images in pixels.

    Returns:
        The median of :data:`TIMED_STEPS` steps, after one step that is left out.
    """
    device = torch.device(cfg.MODEL.DEVICE)
    torch.set_flush_denormal(True)
    with torch.random.fork_rng():
        model = build_model(cfg).to(device).train()
        optimizer = build_optimizer(model, cfg)
        batch = _random_batch(model, cfg.SOLVER.IMS_PER_BATCH, height, width, device)
        times = []
        for _ in range(TIMED_STEPS + 1):
            start = time.perf_counter()
            optimizer.zero_grad()
            sum(model(*batch).values()).backward()
            optimizer.step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def _random_batch(
    model: RetinaNet, count: int, height: int, width: int, device: torch.device
) -> tuple[Tensor, Any, list[dict[str, Tensor]]]:
    images = [torch.rand(3, height, width, device=device) * 255] * count
    corners = torch.tensor([[0.1, 0.1, 0.3, 0.3], [0.4, 0.4, 0.9, 0.9]], device=device)
    target = {
        "boxes": corners * torch.tensor([width, height] * 2, device=device),
        "labels": torch.zeros(2, dtype=torch.int64, device=device),
    }
    return (*model.preprocess(images), [target] * count)


def least_step_bytes(cfg: Any, *, height: int, width: int) -> int:
    """Return the bytes that a training step needs at least.

    These are the tensors that the backward pass needs, counted on a small image and multiplied by
    the pixels of the batch; and weights, gradients and the state of the optimizer. A step also
    needs memory for a short time, so the real number is higher.

    Args:
        cfg, height, width: see :func:`seconds_per_step`.
    """
    with torch.random.fork_rng():
        model = _without_ranks(build_model(cfg).cpu().train())
        batch = _random_batch(model, 1, SIDE, SIDE, torch.device("cpu"))
        known = {t.data_ptr() for t in (*model.parameters(), *model.buffers())}
        saved: dict[int, Tensor] = {}  # they are kept, so that no address is used twice

        def keep(tensor: Tensor) -> Tensor:
            saved[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model(*batch)
    pixels = height * width * cfg.SOLVER.IMS_PER_BATCH / SIDE**2
    activations = sum(
        tensor.untyped_storage().nbytes() for at, tensor in saved.items() if at not in known
    )
    parameters = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    copies = 4 if cfg.MODEL.RETINA_PLUGIN.OPTIMIZER == "AdamW" else 3
    return int(activations * pixels) + copies * parameters


def _without_ranks(model: RetinaNet) -> RetinaNet:
    """Switch the parts that wait for other ranks to evaluation mode: the criterion and SyncBN.

    Only the main process measures the memory of a step.
    """
    model.criterion.eval()
    for module in model.modules():
        if isinstance(module, nn.SyncBatchNorm):
            module.eval()
    return model


def require_memory(cfg: Any, *, height: int, width: int, free: int) -> None:
    """Check that a training step fits into the memory, before the first one is made.

    Args:
        cfg, height, width: see :func:`seconds_per_step`.
        free: free bytes, of the GPU if the run uses one.

    Raises:
        ConfigError: it does not fit. The message has both sizes and the keys to lower.
    """
    need = least_step_bytes(cfg, height=height, width=width)
    if need <= free:
        return
    batch, sizes = cfg.SOLVER.IMS_PER_BATCH, list(cfg.INPUT.MIN_SIZE_TRAIN)
    raise ConfigError(
        f"too little memory: a training step with {batch} images of {height} x {width} pixels "
        f"needs at least {format_size(need)}, and {format_size(free)} are free. Lower "
        f"SOLVER.IMS_PER_BATCH {batch}, INPUT.MIN_SIZE_TRAIN {sizes} or MODEL.FPN.OUT_CHANNELS "
        f"{cfg.MODEL.FPN.OUT_CHANNELS}, or end other programs"
    )
