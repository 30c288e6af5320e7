"""Folders, FIFOs and the like with the name of a run's file are reported at once, on either
host."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retina_plugin.checkpoint import WeightsError, read_checkpoint
from retina_plugin.config.errors import ConfigError
from retina_plugin.data import DatasetError, load_dataset
from tests.load_tools import load_tool
from tests.scenes import write_run

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)
FILES = [
    "last_checkpoint",
    "metrics.json",
    "config.yaml",
    "model_0000001.pth",
    "model_best.pth",
    "run.lock",
    "log.txt",
    "predictions.png",
    "model_final.part.pth",
    "inference/coco_instances_results.json",
    "inference/unfiltered_results.json",
]


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


KINDS = [(os.mkfifo, "FIFO"), (Path.mkdir, "directory"), (device, "device")]


@pytest.fixture(scope="module")
def train_net() -> Any:
    return load_tool("train_net")


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("flags", [[], ["--resume"], ["--overwrite"], ["--eval-only", "--resume"]])
def test_every_file_of_a_run(
    tmp_path: Path, root: Path, train_net: Any, host: str, flags: list[str]
) -> None:
    command = [*flags, "--config-file", write_run(tmp_path, root), "--host", host]
    inference = tmp_path / "out" / "inference"
    inference.mkdir(parents=True)
    for number, name in enumerate(FILES):
        make, kind = KINDS[number % 3]
        path = tmp_path / "out" / name
        make(path)
        with pytest.raises(ConfigError, match=f"{path} cannot be used: it is a {kind}, not a file"):
            train_net.main(command)
        path.rmdir() if kind == "directory" else path.unlink()
    inference.rmdir()
    os.mkfifo(inference)
    with pytest.raises(ConfigError, match=f"{inference} is not a folder"):
        train_net.main(command)


@pytest.mark.parametrize("host", HOSTS)
def test_the_folder_of_a_run(tmp_path: Path, root: Path, train_net: Any, host: str) -> None:
    config = write_run(tmp_path, root)
    (tmp_path / "out").touch()
    with pytest.raises(ConfigError, match=f"{tmp_path / 'out'} is not a folder"):
        train_net.main(["--config-file", config, "--host", host])


def read_results(path: str) -> None:
    load_tool("visualize_json_results").read_results(path)


@pytest.mark.parametrize(("make", "kind"), KINDS)
@pytest.mark.parametrize(
    ("read", "error"),
    [
        (read_checkpoint, WeightsError),
        (read_results, DatasetError),
        (lambda path: load_dataset(f"{path}@."), DatasetError),
    ],
)
def test_files_that_are_named(
    tmp_path: Path, make: Callable[[Path], None], kind: str, read: Callable, error: type
) -> None:
    path = tmp_path / "file.json"
    make(path)
    with pytest.raises(error, match=f"{path} cannot be read: it is a {kind}, not a file"):
        read(str(path))
