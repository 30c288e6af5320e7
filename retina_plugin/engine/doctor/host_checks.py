"""Checks of the two hosts: what each can do on this machine, and known conflicts."""

from __future__ import annotations

import importlib.util
import inspect
import os
import tempfile

from retina_plugin.engine.doctor.finding import BROKEN, NOTE, OK, WARNING, Finding
from retina_plugin.engine.doctor.imports import cure_of, import_problem, version_of
from retina_plugin.engine.hosts import choose_host, detectron2_problem

BUILD = (
    "pip install 'setuptools<82' wheel ninja && pip install --no-build-isolation "
    "'git+https://github.com/facebookresearch/detectron2.git'"
)
MISSING = "is not installed"


def lightning() -> Finding:
    """Whether the host Lightning can be used."""
    problem = import_problem("lightning.pytorch", "lightning")
    if problem:
        return problem
    return Finding(
        OK, f"{version_of('lightning')}: trains on CPUs and GPUs, in one process or several"
    )


def detectron2() -> Finding:
    """Whether the host Detectron2 can be used, and whether its extension is compiled."""
    reason = detectron2_problem()
    if reason == MISSING:
        return Finding(
            NOTE,
            f"{reason}; everything but its own tools works without it",
            f"if you need it: {BUILD}",
        )
    if reason:
        return Finding(WARNING, f"{reason}; runs use Lightning", _cure_of_detectron2(reason))
    version = version_of("detectron2") or "installed without pip"
    found = f"{version}: trains on the CPU in one process, on GPUs in several"
    if importlib.util.find_spec("detectron2._C") is None:
        return Finding(
            NOTE,
            f"{found}; without its compiled extension, which only rotated boxes, deformable "
            "convolutions and its own COCO metrics need",
            f"if you need it: {BUILD}",
        )
    problem = import_problem("detectron2._C", "detectron2")
    if problem:
        return Finding(
            WARNING,
            f"{found}; its extension {problem.found}",
            f"build it again for this torch: {BUILD}",
        )
    return Finding(OK, f"{found}; with its compiled extension")


def _cure_of_detectron2(problem: str) -> str:
    cure = cure_of(ImportError(problem), "detectron2")
    # it is on no package index
    return f"build its newest source again: {BUILD}" if "detectron2" in cure else cure


def detectron2_tools() -> Finding:
    """Whether Detectron2's model zoo imports, and which checkpoints its own tools read.

    This package needs neither: it has its own configs, and reads checkpoints itself.
    """
    if detectron2_problem() is not None:
        return Finding(NOTE, "not checked, because Detectron2 cannot be used")
    problem = import_problem("detectron2.model_zoo", "detectron2")
    if problem:
        return problem._replace(status=WARNING, found=f"its model zoo {problem.found}")
    import torch
    from fvcore.common.checkpoint import Checkpointer

    is_strict = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 6)
    if is_strict and "weights_only" not in inspect.getsource(Checkpointer):
        return Finding(
            NOTE,
            "its model zoo imports; its own tools may refuse old checkpoints, because torch reads "
            "only tensors and plain values since 2.6; retina reads them",
        )
    return Finding(OK, "its model zoo imports")


def default_host() -> Finding:
    """The host that ``--host auto`` chooses."""
    name, reason = choose_host("auto")
    if name == "lightning" and import_problem("lightning.pytorch", "lightning"):
        return Finding(BROKEN, "no host can be used", "pip install lightning")
    return Finding(OK, f"{name} ({reason})")


def configs() -> Finding:
    """Whether a packaged config can be read, and code in YAML files is refused."""
    from retina_plugin.config import ConfigError, check_rules, get_cfg
    from retina_plugin.config.safe_yaml import read_yaml

    cfg = get_cfg()
    cfg.merge_from_file("digits/retinanet_compact.yaml")
    check_rules(cfg)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "code.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write("SEED: !!python/object/apply:os.getpid []\n")
        try:
            read_yaml(path)
        except ConfigError:
            return Finding(OK, "packaged configs are read; code in YAML files is refused")
    return Finding(BROKEN, "code in YAML files is not refused", "pip install --upgrade pyyaml")
