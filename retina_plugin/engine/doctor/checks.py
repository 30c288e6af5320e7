"""The table of checks, in the order in which they are printed."""

from __future__ import annotations

from retina_plugin.engine.doctor import host_checks, libraries, machine_checks
from retina_plugin.engine.doctor.finding import Check

CHECKS: dict[str, Check] = {
    "Python": libraries.python,
    "torch": libraries.torch,
    "torchvision": libraries.torchvision,
    "libraries": libraries.libraries,
    "requirements": libraries.requirements,
    "OpenCV": libraries.opencv,
    "optional libraries": libraries.optional_libraries,
    "extras": libraries.extras,
    "host Lightning": host_checks.lightning,
    "host Detectron2": host_checks.detectron2,
    "Detectron2's tools": host_checks.detectron2_tools,
    "--host auto": host_checks.default_host,
    "configs": host_checks.configs,
    "GPU": machine_checks.gpu,
    "cores": machine_checks.cores,
    "memory": machine_checks.memory,
    "shared memory": machine_checks.shared_memory,
    "disk": machine_checks.disk,
    "cache": machine_checks.cache,
}
