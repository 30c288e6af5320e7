"""Checks of the GPU, the cores, the memory and the disk."""

from __future__ import annotations

import os
import shutil
from typing import Any

from retina_plugin.config.cache import VARIABLE, cache_folder
from retina_plugin.config.disk import free_space
from retina_plugin.config.errors import ConfigError
from retina_plugin.engine.doctor.finding import BROKEN, NOTE, OK, WARNING, Finding, describe_error
from retina_plugin.engine.doctor.imports import cure_of, import_problem
from retina_plugin.engine.machine_limits import free_memory, memory_limit, usable_cores
from retina_plugin.engine.output_folder import require_writable

LEAST_MEMORY = 2 * 10**9  # the digits run needs 1 GB
LEAST_SHARED = 512 * 10**6  # batches of 16 large images of a few loader processes
LEAST_SPACE = 2 * 10**9  # a few checkpoints of a RetinaNet with ResNet-50, 300 MB each
SHARED = "/dev/shm"
NOT_CHECKED = Finding(NOTE, "not checked, because torch does not import")


def gpu() -> Finding:
    """Whether torch sees a GPU that it can use."""
    if import_problem("torch", "torch"):
        return NOT_CHECKED
    import torch

    if not torch.cuda.is_available():
        return _no_gpu(torch)
    for index in range(torch.cuda.device_count()):
        device = torch.device("cuda", index)
        try:
            _use(device)
        # an error of CUDA is a RuntimeError, and a missing operator a NotImplementedError
        except (RuntimeError, NotImplementedError, ImportError) as error:
            name = torch.cuda.get_device_name(index)
            return Finding(
                BROKEN,
                f"cuda:{index} {name}: {describe_error(error)}",
                _gpu_cure(torch, index, error),
            )
    return Finding(OK, ", ".join(map(_describe_gpu, range(torch.cuda.device_count()))))


def _use(device: Any) -> None:
    """Calculate on a GPU, with torch and with torchvision.

    Raises:
        RuntimeError: torch has no code for this GPU, or it cannot be used.
        NotImplementedError, ImportError: torchvision has no code for GPUs.
    """
    import torch
    from torchvision.ops import nms

    pixels = torch.ones(1, 3, 8, 8, device=device)
    torch.nn.functional.conv2d(pixels, pixels).sum().item()
    nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]], device=device), torch.ones(1, device=device), 0.5)


def _gpu_cure(torch: Any, index: int, error: BaseException) -> str:
    major, minor = torch.cuda.get_device_capability(index)
    built_for = torch.cuda.get_arch_list()
    if "no kernel image" in str(error):
        return (
            f"this torch has code for {', '.join(built_for)}, and the GPU is sm_{major}{minor}: "
            "install a torch for this GPU from https://pytorch.org/get-started"
        )
    if "out of memory" in str(error):
        return "another program uses the memory of the GPU; nvidia-smi lists them"
    return cure_of(error, "torch torchvision")


def _describe_gpu(index: int) -> str:
    import torch

    free, total = torch.cuda.mem_get_info(index)
    return (
        f"cuda:{index} {torch.cuda.get_device_name(index)}, {free / 1e9:.1f} of "
        f"{total / 1e9:.1f} GB free"
    )


def _no_gpu(torch: Any) -> Finding:
    if not (os.path.exists("/proc/driver/nvidia/version") or shutil.which("nvidia-smi")):
        return Finding(NOTE, "none that torch can use; runs use the CPU")
    if torch.version.cuda is None:
        return Finding(
            WARNING,
            "an NVIDIA driver is installed, but this torch was built for CPUs",
            "install a torch for CUDA from https://pytorch.org/get-started",
        )
    return Finding(
        WARNING,
        f"an NVIDIA driver is installed, but torch, built for CUDA {torch.version.cuda}, finds no "
        f"GPU (CUDA_VISIBLE_DEVICES is {os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')})",
        "update the driver, or install a torch for an older CUDA; start containers with --gpus all",
    )


def cores() -> Finding:
    """Whether torch takes more threads than this process has cores."""
    count = usable_cores()
    if import_problem("torch", "torch"):
        return NOT_CHECKED
    import torch

    threads = torch.get_num_threads()
    if threads > count:
        return Finding(
            WARNING,
            f"{count} can be used, but torch takes {threads} threads, which slows it down",
            f"export OMP_NUM_THREADS={count}",
        )
    return Finding(OK, f"{count} can be used, torch takes {threads} threads")


def memory() -> Finding:
    """Free memory, with the limit of a container."""
    free, limit = free_memory(), memory_limit()
    within = f", within a limit of {limit / 1e9:.1f} GB of the container" if limit else ""
    found = f"{free / 1e9:.1f} GB can be used{within}"
    if free < LEAST_MEMORY:
        return Finding(
            WARNING,
            found,
            "close other programs, or lower SOLVER.IMS_PER_BATCH and DATALOADER.NUM_WORKERS",
        )
    return Finding(OK, found)


def shared_memory() -> Finding:
    """Whether the processes that load images can pass them on."""
    if not os.path.isdir(SHARED):
        return Finding(OK, f"this system has no {SHARED}")
    free = free_space(SHARED)
    found = f"{free / 1e6:,.0f} MB free in {SHARED}"
    if free < LEAST_SHARED:
        return Finding(WARNING, found, "docker run --shm-size=2g, or DATALOADER.NUM_WORKERS 0")
    return Finding(OK, found)


def disk() -> Finding:
    """Whether a run in the current folder can write its files."""
    folder = os.path.join(os.curdir, "output")
    free = free_space(os.path.abspath(folder))
    found = f"{free / 1e9:.1f} GB free in the current folder"
    try:
        require_writable(folder)
    except ConfigError as error:
        return Finding(WARNING, f"{error}", "OUTPUT_DIR of another folder")
    if free < LEAST_SPACE:
        return Finding(
            WARNING, found, "free some space, or set OUTPUT_DIR to a folder on another disk"
        )
    return Finding(OK, found)


def cache() -> Finding:
    """Whether generated data sets and downloaded weights can be stored."""
    folder = cache_folder()
    try:
        require_writable(folder, key="the cache")
    except ConfigError as error:
        return Finding(WARNING, f"{error}", f"export {VARIABLE}=FOLDER")
    return Finding(OK, f"{folder}, {free_space(folder) / 1e9:.1f} GB free")
