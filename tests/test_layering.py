"""The two rules of the house: who imports whom, and what works with every host blocked."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

HOSTS = {"detectron2", "lightning", "torchvision", "fvcore", "timm"}
PURE = [
    "activations",
    "anchors",
    "backbones",
    "boxes",
    "builders",
    "checkpoints_of_run",
    "dense",
    "disk",
    "divergence",
    "head",
    "hosts",
    "losses",
    "matching",
    "model",
    "necks",
    "nms",
    "norms",
    "outputs",
    "registry",
    "separable",
    "space",
    "threads",
    "weights",
]
ALLOWED = {
    "d2": {"detectron2", "fvcore"},
    "lit": {"lightning", "torchvision", "fvcore"},
    "config": {"fvcore"},
    "nms": {"torchvision"},
    "backbones": {"timm"},
}


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_the_pure_half_works_with_every_host_blocked() -> None:
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({sorted(HOSTS)!r}))\n"
        "import importlib, retina_plugin\n"
        f"for name in {PURE!r}: importlib.import_module('retina_plugin.' + name)\n"
        "retina_plugin.build_model, retina_plugin.load_weights\n"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('numpy', 'yaml', 'cv2', 'PIL', "
        "'matplotlib') and '.' not in m))\n"
    )
    result = run(code)
    assert result.returncode == 0, result.stderr
    assert "cv2" not in result.stdout
    assert "yaml" not in result.stdout


@pytest.mark.parametrize(
    "path",
    sorted((Path(__file__).parents[1] / "retina_plugin").rglob("*.py")),
    ids=lambda p: f"{p.parent.name}/{p.name}",
)
def test_hosts_are_imported_in_their_rooms_only(path: Path) -> None:
    room = (
        path.relative_to(Path(__file__).parents[1] / "retina_plugin").parts[0].removesuffix(".py")
    )
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module.split(".")[0])
    assert imported & HOSTS <= ALLOWED.get(room, set())


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
        "print(retina_plugin.hosts.choose_host('auto'))"
    )
    assert result.returncode == 0, result.stderr
    assert "not registered" in result.stderr
    assert "lightning" in result.stdout
    assert "built for another torch" in result.stdout
