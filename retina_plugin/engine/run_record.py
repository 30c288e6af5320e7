"""Record with what a run was trained: command, versions, host, device and threads.

``run.json`` in the run folder has one entry for each start of the training: the first one, and one
for each ``--resume``.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import sys
from typing import Any

import torch

import retina_plugin
from retina_plugin.config.files import write_atomically
from retina_plugin.engine.host import Request
from retina_plugin.engine.machine_limits import usable_cores

RUN_RECORD = "run.json"
LIBRARIES = ("torchvision", "lightning", "detectron2", "numpy", "pycocotools", "pillow", "timm")


def record_start(cfg: Any, request: Request, *, host: str, resumed: str | None) -> None:
    """Add an entry to ``run.json``; a run that starts at step 0 begins a new file.

    Args:
        cfg: the config of the run.
        request: the flags of the run.
        host: "detectron2" or "lightning".
        resumed: the checkpoint from which the run continues; None at step 0.

    Raises:
        DiskError: the file cannot be written; it is unchanged.
    """
    entry = {
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": command_line(sys.argv),
        "folder": os.getcwd(),
        "resumed_from": resumed and os.path.basename(resumed),
        "host": host,
        "device": describe_device(cfg.MODEL.DEVICE),
        "processes": request.num_gpus * request.num_machines,
        "threads": torch.get_num_threads(),
        "cores": usable_cores(),
        "seed": cfg.SEED,
        "versions": versions(),
    }
    earlier = read_starts(cfg.OUTPUT_DIR) if resumed else []
    text = json.dumps([*earlier, entry], indent=1, ensure_ascii=False)
    write_atomically(os.path.join(cfg.OUTPUT_DIR, RUN_RECORD), f"{text}\n")


def read_starts(folder: str) -> list[dict[str, Any]]:
    """Read the entries of ``run.json``; empty if the file is missing or is not such a file."""
    try:
        with open(os.path.join(folder, RUN_RECORD), encoding="utf-8") as file:
            found = json.load(file)
    except (FileNotFoundError, ValueError, RecursionError):
        return []
    is_list = isinstance(found, list) and all(isinstance(entry, dict) for entry in found)
    return found if is_list else []


def versions() -> dict[str, str]:
    """Return the versions of Python, this package and the libraries, by name."""
    found = {
        "retina_plugin": retina_plugin.__version__,
        "Python": platform.python_version(),
        "torch": str(torch.__version__),
    }
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def command_line(argv: list[str]) -> str:
    """Return the command of a process for a shell.

    Args:
        argv: the path of the program, or of the script that Python runs, and its arguments.
    """
    program, *arguments = argv or [""]
    if program.endswith(os.path.join("cli", "__main__.py")):
        start = ["python", "-m", f"{retina_plugin.__name__}.cli"]
    elif program.endswith(".py"):
        start = ["python", program]
    else:
        start = [os.path.basename(program) or "python"]
    return shlex.join([*start, *arguments])


def describe_device(device: str) -> str:
    """Return ``cpu`` or, for example, ``cuda, NVIDIA H100``."""
    if torch.device(device).type == "cuda" and torch.cuda.is_available():
        return f"{device}, {torch.cuda.get_device_name(device)}"
    return device
