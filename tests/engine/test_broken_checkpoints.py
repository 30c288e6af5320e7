"""``--resume`` on either host if the newest checkpoint or ``last_checkpoint`` is broken."""

from __future__ import annotations

import importlib.util
import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from retina_plugin.checkpoint import WeightsError, read_checkpoint
from retina_plugin.config import get_cfg
from retina_plugin.engine.checks import freeze_unused_parameters
from retina_plugin.engine.disk_space import checkpoint_size, number_of_checkpoints
from retina_plugin.modeling.build import build_model
from tests.load_tools import load_tool
from tests.scenes import write_run

pytestmark = pytest.mark.slow

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)


def train(run: Path, host: str, *arguments: str) -> None:
    settings = ["SOLVER.MAX_ITER", "3", "SOLVER.CHECKPOINT_PERIOD", "1", "DATASETS.TEST", "()"]
    command = ["--config-file", str(run / "config.yaml"), "--host", host, *arguments]
    load_tool("train_net").main(command + ([] if "--eval-only" in arguments else settings))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, root: Path) -> dict[str, Path]:
    """A run of three steps on each host with a checkpoint after each, made without a temporary
    folder."""
    folders, before = {}, tempfile.tempdir
    for host in HOSTS:
        folders[host] = tmp_path_factory.mktemp(host)
        write_run(folders[host], root)
        tempfile.tempdir = str(folders[host] / "no such folder")
        try:
            train(folders[host], host)
        finally:
            tempfile.tempdir = before
    return folders


@pytest.fixture
def copy(runs: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a host's run for a test to damage."""
    return lambda host: Path(shutil.copytree(runs[host] / "out", tmp_path / "out"))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("host", HOSTS)
def test_a_run_writes_nothing_into_the_temporary_folder(runs: dict[str, Path], host: str) -> None:
    assert (runs[host] / "out/model_final.pth").is_file()


@pytest.mark.parametrize("host", HOSTS)
def test_a_damaged_newest_checkpoint(
    runs: dict[str, Path],
    copy: Callable[[str], Path],
    caplog: pytest.LogCaptureFixture,
    host: str,
) -> None:
    """The run continues from the checkpoint before it and prints a warning."""
    out = copy(host)
    for path in out.glob("model_*.pth"):
        if path.name not in ("model_0000000.pth", "model_0000001.pth"):
            flip(path)
    with caplog.at_level(logging.WARNING, "retina_plugin"):
        train(runs[host], host, "--resume", "OUTPUT_DIR", str(out))
    printed = [message for message in caplog.messages if "model_0000001.pth" in message]
    assert len(printed) == 1
    assert "model_final.pth is damaged" in printed[0]
    assert read_checkpoint(str(out / "model_final.pth"))["iteration"] == 2


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("content", [None, "../model_final.pth"])
def test_an_invalid_last_checkpoint(
    runs: dict[str, Path],
    copy: Callable[[str], Path],
    caplog: pytest.LogCaptureFixture,
    host: str,
    content: str | None,
) -> None:
    out = copy(host)
    pointer = out / "last_checkpoint"
    pointer.unlink() if content is None else pointer.write_text(content)
    with caplog.at_level(logging.WARNING, "retina_plugin"):
        train(runs[host], host, "--eval-only", "--resume", "OUTPUT_DIR", str(out))
    printed = [message for message in caplog.messages if "last_checkpoint" in message]
    assert len(printed) == 1
    assert f"Using {out / 'model_final.pth'}" in printed[0]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("flags", [["--resume"], ["--eval-only", "--resume"]])
def test_without_an_intact_checkpoint_no_run_starts(
    runs: dict[str, Path], copy: Callable[[str], Path], host: str, flags: list[str]
) -> None:
    out = copy(host)
    for path in out.glob("model_*.pth"):
        flip(path)
    before = (out / "metrics.json").read_bytes()
    with pytest.raises(
        WeightsError,
        match=r"model_final\.pth is damaged.* has no other checkpoint "
        r"that is whole",
    ):
        train(runs[host], host, *flags, "OUTPUT_DIR", str(out))
    assert (out / "metrics.json").read_bytes() == before


@pytest.mark.parametrize("host", HOSTS)
def test_damaged_weights_are_not_evaluated(
    runs: dict[str, Path], copy: Callable[[str], Path], host: str
) -> None:
    out = copy(host)
    flip(out / "model_final.pth")
    with pytest.raises(WeightsError, match="is damaged: its checksum is wrong"):
        train(
            runs[host],
            host,
            "--eval-only",
            "MODEL.WEIGHTS",
            str(out / "model_final.pth"),
            "OUTPUT_DIR",
            str(out),
        )


@pytest.mark.parametrize("host", HOSTS)
def test_temporary_files_of_a_killed_run_are_removed(
    runs: dict[str, Path], copy: Callable[[str], Path], host: str
) -> None:
    """The next run in the folder removes them. An evaluation does not, because the run may still be
    active."""
    out = copy(host)
    (out / "inference/.part").mkdir(parents=True)
    names = [
        "model_0000001.part.pth",
        "model_final.pth.part",
        "config.yaml.part",
        "last_checkpoint.part",
    ]
    drafts = [
        out / name
        for name in [*names, "predictions.part.png", "inference/coco_instances_results.part.json"]
    ]
    others = [out / name for name in ("film.part", "model_of_a_plane.txt", "notes.part.txt")]
    for path in [*drafts, *others, out / "inference/.part/instances_predictions.pth"]:
        path.write_bytes(b"half")
    train(runs[host], host, "--eval-only", "--resume", "OUTPUT_DIR", str(out))
    assert all((out / name).exists() for name in names)
    train(runs[host], host, "--resume", "OUTPUT_DIR", str(out))
    assert not [path for path in drafts if path.exists()]
    assert not (out / "inference/.part").exists()
    assert all(path.exists() for path in others)


@pytest.mark.parametrize("host", HOSTS)
def test_the_estimate_of_space_holds(runs: dict[str, Path], host: str) -> None:
    cfg = get_cfg()
    cfg.merge_from_file(str(runs[host] / "out/config.yaml"))
    sizes = [path.stat().st_size for path in (runs[host] / "out").glob("model_*.pth")]
    assert len(sizes) <= number_of_checkpoints(cfg, 0) <= len(sizes) + 1
    model = build_model(cfg)
    freeze_unused_parameters(model)
    assert 0.98 * max(sizes) < checkpoint_size(cfg, model) < 1.05 * max(sizes)
