"""Choice of the host, and the reason that is printed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from retina_plugin.engine import hosts


@pytest.mark.parametrize(
    ("problem", "host", "reason"),
    [
        (None, "detectron2", "it is installed"),
        ("is not installed", "lightning", "detectron2 is not installed"),
        (
            "is installed but does not import (OSError: x)",
            "lightning",
            "detectron2 is installed but does not import",
        ),
    ],
)
def test_choice(
    monkeypatch: pytest.MonkeyPatch, problem: str | None, host: str, reason: str
) -> None:
    monkeypatch.setattr(hosts, "detectron2_problem", lambda: problem)
    found, why = hosts.choose_host("auto")
    assert (found, why[: len(reason)]) == (host, reason)
    assert hosts.choose_host("lightning") == ("lightning", "chosen with --host")


def test_host_detectron2_without_detectron2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "detectron2_problem", lambda: "is not installed")
    with pytest.raises(
        ImportError,
        match=r"detectron2 is not installed\. Install it from source, or use --host "
        r"lightning",
    ):
        hosts.choose_host("detectron2")


@pytest.mark.slow
def test_host_lightning_does_not_import_detectron2(root: Path, tmp_path: Path) -> None:
    """The import takes seconds and may fail; here it would warn."""
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2/__init__.py").write_text("raise RuntimeError('was imported')")
    command = [
        sys.executable,
        str(root / "tools/train_net.py"),
        "--host",
        "lightning",
        "--config-file",
        "none.yaml",
    ]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(root)])}
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
    assert "host: lightning (chosen with --host)" in result.stdout
    assert "config file none.yaml cannot be read" in result.stderr
    assert "was imported" not in result.stderr
