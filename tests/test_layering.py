"""The three rules of the packages: who imports whom, where the hosts are imported, and what works
with every host blocked."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "retina_plugin"
ORDER = [  # a package imports only from packages below it
    "d2 lit",
    "report",
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
PURE = ["config", "layers", "losses", "modeling", "checkpoint"]
HOSTS = {"detectron2", "lightning", "torchvision", "fvcore", "timm", "yaml", "numpy", "cv2", "PIL"}
ALLOWED = {  # package or file -> what it may import of HOSTS; where it is pure, inside functions
    "d2": HOSTS - {"lightning"},
    "lit": HOSTS - {"detectron2"},
    "config/node.py": {"fvcore"},
    "config/safe_yaml.py": {"yaml"},
    "solver": {"fvcore"},
    "layers/nms.py": {"torchvision"},
    "modeling/backbones/timm.py": {"timm"},
    "data": {"numpy", "cv2", "PIL"},
    "evaluation": {"numpy"},
    "engine": {"numpy"},
    "report": {"numpy", "PIL", "cv2"},
}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)


def imports(path: Path) -> set[str]:
    """Dotted names of all that a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_package_imports_only_from_packages_below_it(path: Path) -> None:
    own = name_of(path).split("/")[0]
    parts = [name.split(".") for name in imports(path)]
    others = {p[1] for p in parts if p[0] == "retina_plugin" and len(p) > 1 and p[1] in FLOOR}
    assert {other for other in others - {own} if FLOOR[other] >= FLOOR[own]} == set()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_hosts_are_imported_in_their_packages_only(path: Path) -> None:
    name = name_of(path)
    allowed = ALLOWED.get(name, set()) | ALLOWED.get(name.split("/")[0], set())
    assert {dotted.split(".")[0] for dotted in imports(path)} & HOSTS <= allowed


def test_every_package_has_its_place() -> None:
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(FLOOR)


def test_the_pure_packages_work_with_every_host_blocked() -> None:
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({sorted(HOSTS - {'numpy'})!r}))\n"
        "import importlib, retina_plugin\n"
        f"for name in {PURE!r}: importlib.import_module('retina_plugin.' + name)\n"
        "from retina_plugin.modeling import build\n"
        "retina_plugin.build_model, retina_plugin.load_weights\n"
    )
    result = run(code)
    assert result.returncode == 0, result.stderr


def test_import_adds_under_half_a_second_to_torch() -> None:
    """Without a host. A bound on the number of modules would be as fragile; this one is the promise
    itself, with room to spare."""
    code = (
        "import sys, time; sys.modules['detectron2'] = None\n"
        "import torch; start = time.perf_counter(); import retina_plugin; "
        "print(time.perf_counter() - start)"
    )
    assert float(run(code).stdout) < 0.5


def test_a_broken_detectron2_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2" / "__init__.py").write_text(
        "raise RuntimeError('built for another torch')"
    )
    result = run(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import retina_plugin; "
        "print(retina_plugin.engine.hosts.choose_host('auto'))"
    )
    assert result.returncode == 0, result.stderr
    assert "not registered" in result.stderr
    assert "lightning" in result.stdout
    assert "built for another torch" in result.stdout
