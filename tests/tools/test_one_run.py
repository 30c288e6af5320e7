"""One run of the training tool in a separate process. Successful runs are in the tests of the
comparison tools."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.load_tools import load_tool


@pytest.mark.slow
def test_a_failed_run_names_its_log(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run on Lightning does not import Detectron2, which takes seconds and may fail; here it
    would warn."""
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2/__init__.py").write_text("raise RuntimeError('was imported')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(root)]))
    with pytest.raises(ChildProcessError, match=r"no\.yaml.* failed, see .*log\.txt"):
        load_tool("one_run").one_run(tmp_path / "run", "no.yaml", [], threads=1, host="lightning")
    log = (tmp_path / "run/log.txt").read_text(encoding="utf-8")
    assert "host: lightning (chosen with --host)" in log
    assert "no.yaml cannot be read" in log
    assert "was imported" not in log
    assert not (tmp_path / "run/run.json").exists()


def test_only_box_metrics_are_returned() -> None:
    logged = {"bbox/AP": 12.5, "bbox/AP-cat": 3.0, "loss_cls": 0.5}
    assert load_tool("one_run").box_metrics(logged) == {"AP": 12.5, "AP-cat": 3.0}
