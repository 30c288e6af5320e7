"""The checks of ``retina doctor``: each known conflict, made by a stand-in, gives its cure."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
import torch

from retina_plugin.engine.doctor import host_checks, libraries, machine_checks
from retina_plugin.engine.doctor.checks import CHECKS
from retina_plugin.engine.doctor.finding import Finding, run_check
from retina_plugin.engine.doctor.imports import cure_of, import_problem

StandIn = Callable[[str, str], None]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Return a function that replaces a module by one with the given code."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str, code: str) -> None:
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
        monkeypatch.delitem(sys.modules, name, raising=False)

    return write


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("operator torchvision::nms does not exist", "torch and torchvision must be of the same"),
        ("Couldn't load custom C++ ops. This can happen if", "--force-reinstall torch torchvision"),
        ("Could not run 'torchvision::nms' with arguments from the 'CUDA'", "the same index"),
        ("Numpy is not available", "built for another NumPy: pip install --upgrade"),
        ("numpy.core.multiarray failed to import", "or pip install 'numpy<2'"),
        ("numpy.dtype size changed, may indicate binary incompatibility", "lib was built for"),
        ("module 'numpy' has no attribute 'bool'", "older than the installed NumPy"),
        ("module 'PIL.Image' has no attribute 'LINEAR'", "install its newest version"),
        ("libGL.so.1: cannot open shared object file", "pip install opencv-python-headless"),
        ("No module named 'pkg_resources'", "pip install 'setuptools<82'"),
        ("_C.so: undefined symbol: _ZN2at4_ops", "lib was built for another version of torch"),
        ("libcudart.so.12: cannot open shared object file", "another version of torch"),
        ("/lib/libstdc++.so.6: version `GLIBCXX_3.4.32' not found", "built for a newer system"),
        ("anything else", "pip install --force-reinstall lib"),
    ],
)
def test_cures(text: str, cure: str) -> None:
    assert cure in cure_of(ImportError(text), "lib")
    wrapped = RuntimeError("cannot start")
    wrapped.__cause__ = ImportError(text)
    assert cure in cure_of(wrapped, "lib")


def test_import_problems(stand_in: StandIn) -> None:
    stand_in("my_good", "")
    stand_in("my_broken", "raise RuntimeError('operator torchvision::nms does not exist\\nmore')")
    stand_in("my_needy", "import my_absent")
    assert import_problem("my_good", "good") is None
    absent = Finding("broken", "is not installed", "pip install absent")
    assert import_problem("my_absent", "absent") == absent
    broken = import_problem("my_broken", "broken")
    assert broken is not None
    assert broken.found == (
        "does not import: RuntimeError: operator torchvision::nms does not exist"
    )
    needy = import_problem("my_needy", "needy")
    assert needy is not None
    assert "No module named 'my_absent'" in needy.found


def test_torch_and_torchvision_of_different_releases(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert libraries.torch().status == libraries.torchvision().status == "ok"
    monkeypatch.setattr(metadata, "requires", lambda name: ["numpy", "torch==2.0.1"])
    found = libraries.torchvision()
    assert found.status == "warning"
    assert "built for torch 2.0.1, found torch" in found.found
    assert "--force-reinstall torch torchvision" in found.cure
    stand_in("torchvision", "raise RuntimeError('operator torchvision::nms does not exist')")
    found = libraries.torchvision()
    assert found.status == "broken"
    assert "torch and torchvision must be of the same release" in found.cure
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert libraries.torchvision().cure == "pip install torchvision"


def test_torch_built_for_another_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ones:
        def numpy(self) -> None:
            raise RuntimeError("Numpy is not available")

    monkeypatch.setattr(torch, "ones", lambda *_: Ones())
    found = libraries.torch()
    assert found.status == "broken"
    assert "torch was built for another NumPy" in found.cure


def test_a_required_library_fails(stand_in: StandIn) -> None:
    stand_in("sklearn", "raise ImportError('numpy.dtype size changed')")
    found = libraries.libraries()
    assert found.status == "broken"
    assert found.found.startswith("scikit-learn does not import")
    assert "scikit-learn was built for another NumPy" in found.cure


@pytest.mark.parametrize(
    ("wanted", "status", "words"),
    [
        ({}, "ok", "are those"),
        ({"retina_plugin": ["numpy>=99"]}, "broken", "retina_plugin asks for numpy>=99, found"),
        ({"retina_plugin": ["nothing9; extra == 'test'", "numpy>=1"]}, "ok", "are those"),
        ({"detectron2": ["iopath<0.1.1,>=0.1"]}, "warning", "detectron2 asks for iopath<0.1.1,"),
        ({"retina_plugin": ["nothing9"]}, "broken", "nothing9, found none"),
    ],
)
def test_requirements(
    monkeypatch: pytest.MonkeyPatch, wanted: dict[str, list[str]], status: str, words: str
) -> None:
    versions = {"numpy": "2.1", "iopath": "0.1.10", "retina_plugin": "0.1", "detectron2": "0.6"}
    monkeypatch.setattr(metadata, "requires", lambda name: wanted.get(name))
    monkeypatch.setattr(libraries, "version_of", versions.get)
    found = libraries.requirements()
    assert (found.status, words in found.found) == (status, True)
    assert (status == "ok") == (not found.cure)


def test_opencv(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    both = {"opencv-python": "4.9", "opencv-python-headless": "4.9"}
    monkeypatch.setattr(libraries, "version_of", both.get)
    found = libraries.opencv()
    assert found.status == "warning"
    assert "they break each other" in found.found
    assert found.cure.startswith("pip uninstall -y opencv-python opencv-python-headless && pip")
    stand_in("cv2", "raise ImportError('libGL.so.1: cannot open shared object file')")
    monkeypatch.setattr(libraries, "version_of", {"opencv-python": "4.9"}.get)
    found = libraries.opencv()
    assert found.status == "warning"
    assert "pip install opencv-python-headless" in found.cure
    monkeypatch.setattr(libraries, "version_of", {}.get)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert libraries.opencv().status == "note"


def test_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    class Metadata:
        def get_all(self, name: str) -> list[str]:
            return ["timm", "wandb", "test", "opencv"]

    lines = ["timm>=1; extra == 'timm'", "wandb>=0.16; extra == 'wandb'", "numpy"]
    monkeypatch.setattr(metadata, "metadata", lambda name: Metadata())
    monkeypatch.setattr(metadata, "requires", lambda name: lines)
    versions = {"retina_plugin": "0.1", "timm": "1.0", "numpy": "2.1", "wandb": "0.15"}
    monkeypatch.setattr(libraries, "version_of", versions.get)
    found = libraries.extras()
    assert found.found == "timm installed, wandb missing"
    assert found.cure == "if you need it: pip install 'retina_plugin[wandb]'"
    versions["wandb"] = "0.20"
    assert libraries.extras() == Finding("ok", "timm, wandb installed, nothing missing")


@pytest.mark.parametrize(
    ("problem", "status", "cure"),
    [
        ("is not installed", "note", "--no-build-isolation"),
        (
            "is installed but does not import (ImportError: undefined symbol: x)",
            "warning",
            "newest",
        ),
        (
            "does not import (AttributeError: module 'numpy' has no attribute 'bool')",
            "warning",
            "b",
        ),
        ("(ModuleNotFoundError: No module named 'pkg_resources')", "warning", "setuptools<82"),
        ("(RuntimeError: operator torchvision::nms does not exist)", "warning", "same release"),
    ],
)
def test_detectron2_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, problem: str, status: str, cure: str
) -> None:
    monkeypatch.setattr(host_checks, "detectron2_problem", lambda: problem)
    found = host_checks.detectron2()
    assert found.status == status
    assert cure in found.cure
    assert host_checks.detectron2_tools().status == "note"


def test_detectron2_without_its_extension_and_model_zoo(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_checks, "detectron2_problem", lambda: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "without its compiled extension" in host_checks.detectron2().found
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    problem = Finding("broken", "does not import: ImportError: undefined symbol", "x")
    monkeypatch.setattr(host_checks, "import_problem", lambda *_: problem)
    assert host_checks.detectron2().status == "warning"
    assert "build it again for this torch" in host_checks.detectron2().cure
    zoo = Finding("broken", "does not import: No module named 'pkg_resources'", "setuptools<82")
    monkeypatch.setattr(host_checks, "import_problem", lambda *_: zoo)
    found = host_checks.detectron2_tools()
    assert (found.status, found.cure) == ("warning", "setuptools<82")


def test_no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_checks, "choose_host", lambda name: ("lightning", "why"))
    monkeypatch.setattr(host_checks, "import_problem", lambda *_: Finding("broken", "x"))
    assert host_checks.default_host().status == "broken"


def test_configs() -> None:
    assert host_checks.configs() == Finding(
        "ok", "packaged configs are read; code in YAML files is refused"
    )


@pytest.mark.parametrize(
    ("cuda", "driver", "status", "words"),
    [
        (None, False, "note", "runs use the CPU"),
        (None, True, "warning", "this torch was built for CPUs"),
        ("12.4", True, "warning", "built for CUDA 12.4, finds no GPU"),
    ],
)
def test_no_gpu(
    monkeypatch: pytest.MonkeyPatch, cuda: str | None, driver: bool, status: str, words: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(machine_checks.os.path, "exists", lambda path: driver)
    monkeypatch.setattr(machine_checks.shutil, "which", lambda name: None)
    found = machine_checks.gpu()
    assert (found.status, words in found.found) == (status, True)


def test_gpus_that_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: ("T4", "H100")[index])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (14 * 10**9, 16 * 10**9))
    monkeypatch.setattr(machine_checks, "_use", lambda device: None)
    assert machine_checks.gpu() == Finding(
        "ok", "cuda:0 T4, 14.0 of 16.0 GB free, cuda:1 H100, 14.0 of 16.0 GB free"
    )


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("CUDA error: no kernel image is available", "the GPU is sm_75: install a torch for"),
        ("CUDA out of memory", "another program uses the memory"),
        ("Could not run 'torchvision::nms' with 'CUDA'", "both from the same index"),
    ],
)
def test_a_gpu_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, text: str, cure: str) -> None:
    def fail(device: torch.device) -> None:
        raise RuntimeError(text)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_80"])
    monkeypatch.setattr(machine_checks, "_use", fail)
    found = machine_checks.gpu()
    assert found.status == "broken"
    assert "cuda:0 T4" in found.found
    assert cure in found.cure


def test_too_little_of_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "usable_cores", lambda: torch.get_num_threads() - 0.5)
    assert "OMP_NUM_THREADS" in machine_checks.cores().cure
    monkeypatch.setattr(machine_checks, "free_memory", lambda: 10**9)
    monkeypatch.setattr(machine_checks, "memory_limit", lambda: 4 * 10**9)
    found = machine_checks.memory()
    assert found.status == "warning"
    assert found.found == "1.0 GB can be used, within a limit of 4.0 GB of the container"
    monkeypatch.setattr(machine_checks, "SHARED", str(tmp_path))
    monkeypatch.setattr(machine_checks, "free_space", lambda folder: 64 * 2**20)
    assert "--shm-size" in machine_checks.shared_memory().cure
    monkeypatch.chdir(tmp_path)
    assert "another disk" in machine_checks.disk().cure
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RETINA_PLUGIN_CACHE", str(tmp_path / "file/cache"))
    assert machine_checks.cache().cure == "export RETINA_PLUGIN_CACHE=FOLDER"


def test_every_check_returns_a_finding_of_one_line_if_torch_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The import of a host would take seconds."""
    for module in (libraries, host_checks, machine_checks):
        monkeypatch.setattr(module, "import_problem", lambda *_: Finding("broken", "is missing"))
    monkeypatch.setattr(host_checks, "detectron2_problem", lambda: "is not installed")
    for name, check in CHECKS.items():
        found = run_check(check)
        assert found.status in ("ok", "note", "warning", "broken")
        assert "\n" not in found.line(name)


def test_a_check_that_fails_is_broken() -> None:
    def check() -> Finding:
        raise AttributeError("first line\nsecond line")

    assert run_check(check) == Finding("broken", "AttributeError: first line")
