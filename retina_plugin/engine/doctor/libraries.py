"""Checks of Python and of the libraries that this package requires."""

from __future__ import annotations

import importlib
import importlib.util
import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata

from retina_plugin.engine.doctor.finding import BROKEN, NOTE, OK, WARNING, Finding
from retina_plugin.engine.doctor.imports import cure_of, import_problem, version_of

REQUIRED = {  # module -> distribution, besides torch, torchvision and lightning
    "numpy": "numpy",
    "PIL.Image": "pillow",
    "pycocotools.mask": "pycocotools",
    "fvcore.common.config": "fvcore",
    "yaml": "pyyaml",
    "matplotlib": "matplotlib",
    "sklearn": "scikit-learn",
    "tensorboard": "tensorboard",
    "tqdm": "tqdm",
}
OPENCV = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
# Extras of optional libraries that are compiled: they may be installed and still not import.
COMPILED = {
    "timm": "timm",
    "faster_coco_eval": "faster-coco-eval",
    "simplejpeg": "simplejpeg",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
}
# Extras that are not listed: for development, or with a check of their own.
UNLISTED = ("test", "docs", "opencv", "opencv-headless")


def python() -> Finding:
    """The version of Python."""
    return Finding(OK, f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def torch() -> Finding:
    """Whether torch imports, calculates and exchanges arrays with NumPy."""
    problem = import_problem("torch", "torch")
    if problem:
        return problem
    import torch

    try:
        torch.ones(2).numpy()
    except (RuntimeError, ImportError) as error:
        return Finding(
            BROKEN,
            f"{torch.__version__} does not work with NumPy: {error}",
            cure_of(error, "torch"),
        )
    build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built for CPUs"
    return Finding(OK, f"{torch.__version__}, {build}")


def torchvision() -> Finding:
    """Whether torchvision's operators load, and whether it was built for this version of torch."""
    problem = import_problem("torchvision", "torchvision")
    if problem:
        return problem
    import torch
    import torchvision

    version = torchvision.__version__
    try:
        torchvision.ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
    except (RuntimeError, NotImplementedError) as error:
        return Finding(
            BROKEN, f"{version}: its operators do not load", cure_of(error, "torchvision")
        )
    wanted = _exact_version(metadata.requires("torchvision") or [], "torch")
    if wanted and torch.__version__.split("+")[0] != wanted:
        return Finding(
            WARNING,
            f"{version} was built for torch {wanted}, found torch {torch.__version__}",
            "pip install --force-reinstall torch torchvision, both from the same index",
        )
    return Finding(OK, version)


def _exact_version(requirements: list[str], name: str) -> str | None:
    found = (re.fullmatch(rf"{name} ?\(?==([\w.]+)\)?(;.*)?", line) for line in requirements)
    return next((match[1] for match in found if match), None)


def libraries() -> Finding:
    """Whether the other required libraries import."""
    problems = {
        name: problem
        for module, name in REQUIRED.items()
        if (problem := import_problem(module, name)) is not None
    }
    if problems:
        found = "; ".join(f"{name} {problem.found}" for name, problem in problems.items())
        cures = dict.fromkeys(problem.cure for problem in problems.values())
        return Finding(BROKEN, found, "; ".join(cures))
    return Finding(OK, ", ".join(f"{name} {version_of(name)}" for name in REQUIRED.values()))


def requirements() -> Finding:
    """Whether the installed versions are those that this package and Detectron2 ask for."""
    if importlib.util.find_spec("packaging") is None:
        return Finding(NOTE, "not compared", "pip install packaging")
    own = list(_unmet_requirements("retina_plugin"))
    theirs = list(_unmet_requirements("detectron2"))
    if not own and not theirs:
        return Finding(OK, "the installed versions are those that are asked for")
    missing = " ".join(f"'{wanted}'" for wanted, _ in own or theirs)
    return Finding(
        BROKEN if own else WARNING,
        "; ".join(
            f"{name} asks for {wanted}, found {found}"
            for name, unmet in (("retina_plugin", own), ("detectron2", theirs))
            for wanted, found in unmet
        ),
        f"pip install {missing}",
    )


def _unmet_requirements(distribution: str) -> Iterator[tuple[str, str]]:
    """Yield (requirement, found version) for requirements without extras that are not met."""
    from packaging.requirements import Requirement

    if version_of(distribution) is None:
        return
    for line in metadata.requires(distribution) or []:
        wanted = Requirement(line)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        found = version_of(wanted.name)
        if found is None or not wanted.specifier.contains(found, prereleases=True):
            yield f"{wanted.name}{wanted.specifier}", found or "none"


def opencv() -> Finding:
    """Whether one of the packages of OpenCV is installed, and whether it imports."""
    found = {name: version for name in OPENCV if (version := version_of(name))}
    if len(found) > 1:
        return Finding(
            WARNING,
            f"{' and '.join(found)} are installed, and they break each other",
            f"pip uninstall -y {' '.join(found)} && pip install {_wanted_opencv(list(found))}",
        )
    if not found and importlib.util.find_spec("cv2") is None:
        return Finding(
            NOTE,
            "is not installed; videos, webcams and colour images of 16 bits need it",
            "pip install opencv-python-headless on a server, opencv-python on a desktop",
        )
    problem = import_problem("cv2", next(iter(found), "opencv-python-headless"))
    if problem:
        return problem._replace(status=WARNING)
    names = ", ".join(f"{name} {version}" for name, version in found.items())
    return Finding(OK, names or "installed without pip")


def _wanted_opencv(found: list[str]) -> str:
    """Return the package to keep of several: with contrib if one of them has it; headless except on
    macOS."""
    contrib = "-contrib" if any("contrib" in name for name in found) else ""
    headless = "" if sys.platform == "darwin" else "-headless"
    return f"opencv{contrib}-python{headless}"


def optional_libraries() -> Finding:
    """Whether the optional libraries that are installed import."""
    installed = {module: name for module, name in COMPILED.items() if version_of(name)}
    problems = {
        name: problem
        for module, name in installed.items()
        if (problem := import_problem(module, name)) is not None
    }
    if problems:
        found = "; ".join(f"{name} {problem.found}" for name, problem in problems.items())
        return Finding(WARNING, found, "; ".join(p.cure for p in problems.values()))
    versions = ", ".join(f"{name} {version_of(name)}" for name in installed.values())
    return Finding(OK, versions or "none is installed")


def extras() -> Finding:
    """Which extras of this package are complete."""
    if version_of("retina_plugin") is None or importlib.util.find_spec("packaging") is None:
        return Finding(NOTE, "unknown, because retina_plugin was not installed by pip")
    names = [
        name
        for name in metadata.metadata("retina_plugin").get_all("Provides-Extra") or []
        if name not in UNLISTED
    ]
    complete = [name for name in names if not list(_unmet_of_extra(name))]
    missing = [name for name in names if name not in complete]
    return Finding(
        NOTE if missing else OK,
        f"{', '.join(complete) or 'none is'} installed, {', '.join(missing) or 'nothing'} missing",
        f"if you need it: pip install 'retina_plugin[{missing[0]}]'" if missing else "",
    )


def _unmet_of_extra(extra: str) -> Iterator[str]:
    from packaging.requirements import Requirement

    for line in metadata.requires("retina_plugin") or []:
        wanted = Requirement(line)
        if wanted.marker is None or not wanted.marker.evaluate({"extra": extra}):
            continue
        found = version_of(wanted.name)
        if found is None or not wanted.specifier.contains(found, prereleases=True):
            yield wanted.name
