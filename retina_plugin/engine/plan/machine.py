"""Describe the machine: cores, memory, GPU, and the measured time of a training step."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch

from retina_plugin.engine.machine_limits import free_memory, usable_cores
from retina_plugin.modeling.build import build_model
from retina_plugin.solver import build_optimizer

TIMED_STEPS = 3


@dataclass(frozen=True)
class Machine:
    """The resources that a run may use.

    Attributes:
        cores: number of CPU cores that this process may use.
        memory: free memory in bytes, on the GPU if the machine has one.
        gpu: name of the GPU; "" without a GPU.
    """

    cores: int
    memory: int
    gpu: str


def this_machine(device: str = "cuda") -> Machine:
    """Describe this machine.

    Args:
        device: ``MODEL.DEVICE`` of the run, such as "cuda:1"; a GPU is described only if the run
            uses one.
    """
    if torch.device(device).type == "cuda" and torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info(device)
        return Machine(usable_cores(), free, torch.cuda.get_device_name(device))
    return Machine(usable_cores(), free_memory(), "")


def seconds_per_step(cfg: Any, *, height: int, width: int) -> float:
    """Measure a training step of random weights on random images with two boxes each.

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
        batch, sizes = model.preprocess(
            [torch.rand(3, height, width, device=device) * 255] * cfg.SOLVER.IMS_PER_BATCH
        )
        corners = torch.tensor([[0.1, 0.1, 0.3, 0.3], [0.4, 0.4, 0.9, 0.9]], device=device)
        target = {
            "boxes": corners * torch.tensor([width, height] * 2, device=device),
            "labels": torch.zeros(2, dtype=torch.int64, device=device),
        }
        times = []
        for _ in range(TIMED_STEPS + 1):
            start = time.perf_counter()
            optimizer.zero_grad()
            sum(model(batch, sizes, [target] * len(sizes)).values()).backward()
            optimizer.step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
    return statistics.median(times[1:])
