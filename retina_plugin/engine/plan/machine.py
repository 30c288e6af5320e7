"""Describe the machine: cores, memory and GPU."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from retina_plugin.engine.machine_limits import free_memory, usable_cores


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
