"""Check the three rules for imports between packages; see docs/architecture.md."""

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "retina_plugin"
ORDER = [  # a package imports only from packages below it
    "cli",
    "d2 lit",
    "inference",
    "report",
    "export",
    "engine",
    "evaluation",
    "data",
    "solver",
    "checkpoint",
    "modeling",
    "losses",
    "layers",
    "config",
]
FLOOR = {name: -row for row, names in enumerate(ORDER) for name in names.split()}
# These import a host by a name in a table or through importlib.
UPWARDS = {"engine/launch.py": {"d2", "lit"}, "engine/hosts.py": {"d2"}, "__init__.py": {"d2"}}
PURE = {"config", "layers", "losses", "modeling", "checkpoint"}
# Files of the pure packages that are imported only on first use.
LATE = {
    "config/node.py": {"fvcore"},
    "config/safe_yaml.py": {"yaml"},
    "config/yaml_text.py": {"yaml"},
    "losses/triton_focal.py": {"triton"},
}
ALLOWED = {  # package or file -> libraries besides torch; in pure packages inside functions
    **LATE,
    "layers/nms.py": {"torchvision"},
    "losses/one_pass.py": {"triton"},
    "modeling/backbones/timm.py": {"timm"},
    "checkpoint/read.py": {"safetensors"},
    "checkpoint/sources/catalogs.py": {"timm", "huggingface_hub", "torchvision"},
    "solver": {"fvcore"},
    "data": {"numpy", "cv2", "PIL", "simplejpeg", "sklearn", "torchvision", "tqdm"},
    "data/importers/yolo_yaml.py": {"yaml"},
    "evaluation": {"numpy", "pycocotools", "faster_coco_eval"},
    "engine": {"numpy", "tensorboard"},
    "engine/hosts.py": {"detectron2"},
    "engine/doctor/host_checks.py": {"fvcore"},
    "engine/doctor/libraries.py": {"packaging", "torchvision"},
    "engine/doctor/machine_checks.py": {"torchvision"},
    "export/evaluate.py": {"tqdm"},
    "export/images.py": {"sklearn"},
    "export/nms_graph.py": {"onnx"},
    "export/onnx_format.py": {"onnx", "onnxruntime"},
    "export/openvino_format.py": {"openvino"},
    "engine/plan/trial.py": {"tqdm"},
    "engine/trackers/mlflow.py": {"mlflow"},
    "engine/trackers/wandb.py": {"wandb"},
    "report": {"numpy", "PIL", "cv2", "matplotlib", "fontTools"},
    "inference": {"numpy", "PIL", "av", "pandas", "tqdm"},
    "cli/self_test_process.py": {"PIL"},
    "d2": {"detectron2", "fvcore", "numpy", "PIL", "pycocotools"},
    "lit": {"lightning", "tqdm"},
}
FILES = sorted(PACKAGE.rglob("*.py"))
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def imports(tree: ast.AST, package: str, *, inside: bool = True) -> Iterator[str]:
    """Dotted names of all that a file imports: by statement, absolute or relative, by a literal
    name given to a function that imports, and by any string that is the name of a module of ours,
    which a table may give to such a function later.

    Args:
        tree: of the file.
        package: dotted, in which the file lies.
        inside: also what functions import.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and _imports(node.func):
            yield from (a.value for a in node.args[:1] if _is_text(a))
        elif _is_text(node) and re.fullmatch(r"retina_plugin(\.\w+)+", node.value):
            yield node.value
        if inside or not isinstance(node, FUNCTIONS):
            yield from imports(node, package, inside=inside)


def _imports(function: ast.expr) -> bool:
    name = getattr(function, "attr", getattr(function, "id", ""))
    return name in ("import_module", "__import__", "run_module")


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


@functools.cache
def imports_of(path: Path, *, inside: bool = True) -> set[str]:
    """See :func:`imports`."""
    package = ".".join(path.relative_to(ROOT).parent.parts)
    return set(imports(ast.parse(path.read_text(encoding="utf-8")), package, inside=inside))


def packages(names: set[str]) -> set[str]:
    """Packages of this project among dotted names."""
    parts = [name.split(".") for name in names]
    return {p[1] for p in parts if p[0] == "retina_plugin" and len(p) > 1 and p[1] in FLOOR}


def libraries(names: set[str]) -> set[str]:
    """Top-level names of libraries other than torch, the standard library and this project."""
    known = {*sys.stdlib_module_names, "torch", "retina_plugin", ""}
    return {name.split(".")[0] for name in names} - known


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def place_of(path: Path) -> str:
    """The package of a file; for a file at the top level, its own name."""
    return name_of(path).split("/")[0]


def forbidden(find: Callable[[Path], set[str]], files: list[Path] = FILES) -> dict[str, set[str]]:
    """Return what ``find`` finds in each file, for files in which it finds something."""
    return {name_of(path): names for path in files if (names := find(path))}


def test_a_package_imports_only_from_packages_below_it() -> None:
    def not_below(path: Path) -> set[str]:
        own = place_of(path)
        others = packages(imports_of(path)) - {own} - UPWARDS.get(name_of(path), set())
        return {other for other in others if FLOOR[other] >= FLOOR.get(own, 0)}

    assert forbidden(not_below) == {}


def test_libraries_are_imported_in_their_packages_only() -> None:
    def not_allowed(path: Path) -> set[str]:
        allowed = ALLOWED.get(name_of(path), set()) | ALLOWED.get(place_of(path), set())
        return libraries(imports_of(path)) - allowed

    assert forbidden(not_allowed) == {}


def test_pure_files_import_torch_and_the_standard_library_at_their_top() -> None:
    def impure(path: Path) -> set[str]:
        return libraries(imports_of(path, inside=False)) - LATE.get(name_of(path), set())

    assert forbidden(impure, [path for path in FILES if place_of(path) in PURE]) == {}


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("from .. import lit", {"retina_plugin.lit"}),
        ("from ..lit import run", {"retina_plugin.lit.run"}),
        ("from . import read", {"retina_plugin.checkpoint.read"}),
        ("from .read import load", {"retina_plugin.checkpoint.read.load"}),
        ("import scipy.special as s, lightning", {"scipy.special", "lightning"}),
        ("from torch import nn", {"torch.nn"}),
        ("import importlib as i\ni.import_module('lightning.x')", {"importlib", "lightning.x"}),
        ("def f(): __import__('retina_plugin.lit.run')", {"retina_plugin.lit.run"}),
        ("HOSTS = {'lightning': 'retina_plugin.lit.run'}", {"retina_plugin.lit.run"}),
        ("'See :mod:`retina_plugin.lit.run`.'", set()),
    ],
)
def test_detection_of_imports(code: str, found: set[str]) -> None:
    assert set(imports(ast.parse(code), "retina_plugin.checkpoint")) == found


def test_imports_inside_functions_are_distinguished() -> None:
    code = "import a\nclass C:\n import b\n def f(self):\n  import c\n  def g(): import d"
    assert set(imports(ast.parse(code), "", inside=False)) == {"a", "b"}
    assert set(imports(ast.parse(code), "")) == {"a", "b", "c", "d"}


def test_every_package_is_in_the_table() -> None:
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(FLOOR)


BLOCKED = r"""
import re, sys, torch
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

def plain(name):
    return name.lower().replace("_", "-")

def needed(name, found):
    if name not in found:
        found.add(name)
        try:
            lines = [line for line in requires(name) or () if "extra ==" not in line]
        except PackageNotFoundError:  # of another platform
            lines = []
        for line in lines:
            needed(plain(re.match(r"[-\w.]+", line).group()), found)
    return found

of_torch = needed("torch", set())
allowed = {"retina_plugin", *sys.stdlib_module_names} | {
    module for module, owners in packages_distributions().items()
    if of_torch & set(map(plain, owners))
}

class Only:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *others):
        if name.split(".")[0] in allowed:
            return self.finder.find_spec(name, *others)

sys.meta_path[:] = map(Only, sys.meta_path)
for name in list(sys.modules):
    if name.split(".")[0] not in allowed and not name.startswith("_"):
        del sys.modules[name]
for name in ("numpy", "yaml", "fvcore", "tqdm", "lightning"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise AssertionError(f"{name} is not blocked")
"""


@pytest.mark.slow
def test_the_pure_packages_work_with_every_other_library_blocked() -> None:
    """Only torch and its own requirements can be imported."""
    files = [p for p in FILES if place_of(p) in PURE and name_of(p) not in LATE]
    modules = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in files]
    code = (
        f"{BLOCKED}\n"
        "import importlib, retina_plugin\n"
        f"for name in {modules!r}: importlib.import_module(name.removesuffix('.__init__'))\n"
        "retina_plugin.build_model, retina_plugin.load_weights\n"
    )
    result = run(code)
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_import_adds_under_half_a_second_to_torch() -> None:
    """Measured without a host."""
    code = (
        "import sys, time; sys.modules['detectron2'] = None\n"
        "import torch; start = time.perf_counter(); import retina_plugin; "
        "print(time.perf_counter() - start)"
    )
    assert float(run(code).stdout) < 0.5


def write_detectron2(folder: Path, **files: str) -> str:
    """Write a fake, broken ``detectron2`` and return code that puts it first on the path."""
    (folder / "detectron2").mkdir()
    for name in ("__init__", *files):
        text = files.get(name, "")
        (folder / "detectron2" / f"{name}.py").write_text(text, encoding="utf-8")
    return f"import sys; sys.path.insert(0, {str(folder)!r}); import retina_plugin; "


def test_a_broken_detectron2_is_the_reason_for_lightning(tmp_path: Path) -> None:
    start = write_detectron2(tmp_path, __init__="raise RuntimeError('built for another torch')")
    result = run(f"{start}print(retina_plugin.engine.hosts.choose_host('auto'))")
    assert result.returncode == 0, result.stderr
    assert "lightning" in result.stdout
    assert "built for another torch" in result.stdout


def test_a_part_of_detectron2_that_is_broken_is_a_warning(tmp_path: Path) -> None:
    start = write_detectron2(tmp_path, config="raise RuntimeError('built for another torch')")
    result = run(f"{start}import detectron2; print(retina_plugin.engine.hosts.choose_host('auto'))")
    assert result.returncode == 0, result.stderr
    assert "built for another torch); retina_plugin is not registered in it" in result.stderr
    assert "lightning" in result.stdout


def test_importing_the_package_imports_neither_torch_nor_a_host() -> None:
    code = (
        "import sys, retina_plugin.cli\n"
        "print(sorted({'torch', 'detectron2', 'lightning', 'numpy'} & set(sys.modules)))"
    )
    assert run(code).stdout == "[]\n"
