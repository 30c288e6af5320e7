"""``retina train`` and ``retina eval``."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from retina_plugin.checkpoint import WeightsError
from retina_plugin.cli.command import main
from retina_plugin.config import ConfigError
from retina_plugin.data import DatasetError, load_dataset
from tests.conftest import ROOT
from tests.full_disk import FullDisk
from tests.scenes import write_run

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)


def last(folder: Path) -> dict[str, float]:
    """Metrics in the last line of ``metrics.json``, without the intervals of training runs."""
    lines = (folder / "metrics.json").read_text(encoding="utf-8").splitlines()
    return {
        key: value
        for key, value in json.loads(lines[-1]).items()
        if key.startswith("bbox/") and not key.endswith(("_low", "_high"))
    }


def package_files() -> set[str]:
    """Files of the package, without ``__pycache__``."""
    files = (str(path) for path in (ROOT / "retina_plugin").rglob("*"))
    return {path for path in files if "__pycache__" not in path}


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
def test_train_and_eval(
    tmp_path: Path,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    host: str,
) -> None:
    """The package is read-only, and the evaluation runs in another folder."""
    readonly = FullDisk(ROOT / "retina_plugin", "")
    readonly.full = True
    readonly.install(monkeypatch)
    before = package_files()
    monkeypatch.chdir(tmp_path)
    config = ["--config-file", write_run(tmp_path, root), "--host", host]
    main(["train", *config, "SOLVER.MAX_ITER", "4", "OUTPUT_DIR", "run"])
    trained = last(tmp_path / "run")
    assert "bbox/AP" in trained
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    capsys.readouterr()
    main(["eval", "../run", "--host", host])
    assert "weights: ../run/model_final.pth\n" in capsys.readouterr().out
    assert last(tmp_path / "run") == pytest.approx(trained, nan_ok=True)
    weights = ["--weights", str(tmp_path / "run/model_final.pth")]
    main(["eval", *config, *weights, "OUTPUT_DIR", "again"])
    assert last(tmp_path / "elsewhere/again") == pytest.approx(trained, nan_ok=True)
    assert package_files() == before


def test_folders_without_a_run(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, words in (("empty", "has no config.yaml"), ("none", "is not a folder")):
        with pytest.raises(ConfigError, match=words):
            main(["eval", str(tmp_path / name)])
    (tmp_path / "empty/config.yaml").touch()
    with pytest.raises(WeightsError, match="has no checkpoint: add --weights FILE"):
        main(["eval", str(tmp_path / "empty")])


def test_a_read_only_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which variable to set; matplotlib reports its own cache."""
    monkeypatch.setenv("HOME", "/dev/null/home")
    monkeypatch.delenv("RETINA_PLUGIN_CACHE")
    with pytest.raises(DatasetError, match=r"/dev/null/home/.*RETINA_PLUGIN_CACHE"):
        load_dataset("digits_train")


SCRIPT = """
import multiprocessing, sys
from retina_plugin.cli import main

def modules(): assert not {"torch", "detectron2"} & set(sys.modules)

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=modules)
    process.start(), process.join()
    print("exit code", process.exitcode, flush=True)
    main(sys.argv[1:])
"""


@pytest.mark.long
def test_lightning_imports_no_detectron2(tmp_path: Path) -> None:
    """A fake Detectron2 fails on import, in the program and in the processes that several GPUs
    start."""
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2/__init__.py").write_text("raise RuntimeError('was imported')")
    (tmp_path / "retina").write_text(SCRIPT)
    arguments = ["train", "--config-file", "none.yaml", "--host", "lightning", "--num-gpus", "2"]
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    result = subprocess.run(
        [sys.executable, str(tmp_path / "retina"), *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert result.stdout == "exit code 0\nhost: lightning (chosen with --host)\n"
    assert "config file none.yaml cannot be read" in result.stderr
    assert "was imported" not in result.stderr


def test_progress_in_a_terminal_of_40_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    from retina_plugin.lit.module import RetinaNetModule
    from retina_plugin.lit.progress import StepProgressBar

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    bar = StepProgressBar()
    with open(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        trainer = SimpleNamespace(max_steps=90000, global_step=0, is_global_zero=True)
        module = Mock(spec=RetinaNetModule, lr=0.00123, budget=None)
        bar.on_train_start(trainer, module)
        bar.training_bar.mininterval = 0
        for step in range(3):
            bar.on_train_batch_end(trainer, module, {"loss": 1234.5 + step}, None, step)
        bar.on_train_end(trainer, module)
        terminal.flush()
        shown = os.read(master, 10000).decode()
    os.close(master)
    assert "training" in shown
    assert max(map(len, shown.replace("\n", "\r").split("\r"))) <= 40
