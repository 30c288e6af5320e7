"""The disk becomes full while a run writes one of its files: one message, and no incomplete
file."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import yaml

from retina_plugin.checkpoint import read_checkpoint
from retina_plugin.engine import process
from retina_plugin.engine.checkpoints import newest_checkpoint
from tests.full_disk import FullDisk
from tests.load_tools import load_tool
from tests.scenes import write_run

FIRST, LAST = "model_0000000.pth", "model_final.pth"
# The file at which the disk becomes full in a run of two steps, what the message names, and the
# newest checkpoint afterwards.
LIGHTNING = [
    ("run.lock", "config.yaml", None),
    ("config.part", "config.yaml", None),
    ("model_0000000", FIRST, None),
    ("last_checkpoint", "last_checkpoint", FIRST),
    ("events.out", "events.out", None),
    ("model_final", LAST, FIRST),
    ("metrics.json", "metrics.json", LAST),
    ("coco_instances_results", "coco_instances_results.json", LAST),
    ("predictions.", "predictions.png", LAST),
]
DETECTRON2 = [
    ("run.lock", "config.yaml", None),
    ("log.txt", "log.txt", None),
    ("config.part", "config.yaml", None),
    ("model_0000000", FIRST, None),
    ("last_checkpoint", "last_checkpoint", FIRST),
    ("model_final", LAST, "model_0000001.pth"),
    ("metrics.json", "metrics.json", LAST),
    ("events.out", "events.out", LAST),
    ("coco_instances_results", "coco_instances_results.json", LAST),
    ("predictions.", "predictions.png", LAST),
]
CASES = [("lightning", *case) for case in LIGHTNING]
CASES += [("detectron2", *case) for case in DETECTRON2] * (
    importlib.util.find_spec("detectron2") is not None
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """Data and config of a run of two steps with a checkpoint after each."""
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, root)
    return folder


def train(folder: Path, host: str, out: Path, *flags: str) -> None:
    steps = ["SOLVER.MAX_ITER", "2", "SOLVER.CHECKPOINT_PERIOD", "1", "OUTPUT_DIR", str(out)]
    load_tool("train_net").main(
        ["--config-file", str(folder / "config.yaml"), "--host", host, *flags, *steps]
    )


def check_whole(out: Path) -> None:
    """Check that every file can be read completely and that no temporary file is left."""
    for path in out.rglob("*"):
        assert ".part" not in path.name
        if path.suffix == ".pth" and path.name.startswith("model"):
            read_checkpoint(str(path))
        if path.name == "metrics.json":
            assert all(json.loads(line) for line in path.read_text().splitlines())
        if path.name in ("metrics.json", "log.txt"):
            assert not path.stat().st_size or path.read_bytes().endswith(b"\n")
        if path.suffix == ".yaml":
            assert yaml.safe_load(path.read_text())["OUTPUT_DIR"]
        if path.name == "coco_instances_results.json":
            json.loads(path.read_text())


@pytest.mark.slow
@pytest.mark.parametrize(("host", "at", "named", "checkpoint"), CASES)
def test_the_disk_becomes_full(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
    host: str,
    at: str,
    named: str,
    checkpoint: str | None,
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        disk = FullDisk(tmp_path, at)
        disk.install(patched)
        with pytest.raises(SystemExit, match="2"):
            process.run(lambda: train(folder, host, out))
    assert disk.full
    printed = capfd.readouterr()
    assert "Traceback" not in printed.err + printed.out
    lines = [line for line in printed.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert f"error: cannot write {out}" in lines[0]
    assert named in lines[0]
    assert "No space left on device (" in lines[0]
    check_whole(out)
    assert newest_checkpoint(str(out)) == (checkpoint and str(out / checkpoint))
