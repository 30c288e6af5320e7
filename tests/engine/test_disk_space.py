"""Estimate of the disk space of a run, compared with its use; a run that does not fit is
refused."""

from __future__ import annotations

import importlib.util
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch

from retina_plugin.config.disk import DiskError, free_space
from retina_plugin.engine.checkpoints import write_checkpoint
from retina_plugin.engine.disk_space import (
    best_model_size,
    checkpoint_size,
    number_of_checkpoints,
    require_space,
)
from retina_plugin.solver import WeightAverage
from tests.load_tools import load_tool
from tests.models import compact_cfg, compact_model
from tests.scenes import write_run

pytestmark = pytest.mark.slow

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)
SGD = {"MODEL__RETINA_PLUGIN__OPTIMIZER": "SGD"}


def optimizer_of(cfg: Any, model: torch.nn.Module) -> torch.optim.Optimizer:
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if cfg.MODEL.RETINA_PLUGIN.OPTIMIZER == "AdamW":
        return torch.optim.AdamW(learning)
    return torch.optim.SGD(learning, lr=0.1, momentum=cfg.SOLVER.MOMENTUM)


@pytest.mark.parametrize(
    "changes",
    [{"MODEL__RETINA_PLUGIN__OPTIMIZER": "AdamW"}, SGD, {**SGD, "SOLVER__MOMENTUM": 0.0}],
    ids=["AdamW", "SGD", "no momentum"],
)
@pytest.mark.parametrize("frozen", [0, 3])
def test_size_of_a_checkpoint(tmp_path: Path, changes: dict[str, Any], frozen: int) -> None:
    cfg = compact_cfg(**changes, MODEL__BACKBONE__FREEZE_AT=frozen)
    model = compact_model(**changes, MODEL__BACKBONE__FREEZE_AT=frozen)
    optimizer = optimizer_of(cfg, model)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    path = tmp_path / "model_final.pth"
    write_checkpoint({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, str(path))
    estimated, found = checkpoint_size(cfg, model), path.stat().st_size
    assert 0.98 * found < estimated < 1.03 * found


@pytest.mark.parametrize(
    ("most", "period", "first", "expected"),
    [(10, 5, 0, 3), (11, 5, 0, 3), (11, 5, 5, 2), (11, 5, 4, 3), (3, 5, 0, 1)],
)
def test_number_of_checkpoints(most: int, period: int, first: int, expected: int) -> None:
    cfg = compact_cfg(SOLVER__MAX_ITER=most, SOLVER__CHECKPOINT_PERIOD=period)
    assert number_of_checkpoints(cfg, first) == expected


@pytest.mark.parametrize(("keep", "expected"), [(0, 21), (1, 3), (3, 5), (50, 21)])
def test_number_of_checkpoints_that_are_kept(keep: int, expected: int) -> None:
    """The disk has KEEP checkpoints, the next one while it is written, and model_final.pth."""
    cfg = compact_cfg(
        SOLVER__MAX_ITER=100,
        SOLVER__CHECKPOINT_PERIOD=5,
        MODEL__RETINA_PLUGIN__SOLVER__KEEP=keep,
    )
    assert number_of_checkpoints(cfg, 0) == expected


def test_size_of_averages_and_of_the_best_model(tmp_path: Path) -> None:
    changes = {**SGD, "MODEL__RETINA_PLUGIN__SOLVER__EMA": True}
    cfg = compact_cfg(**changes, TEST__EVAL_PERIOD=5, DATASETS__TEST=("bccd_val",))
    model = compact_model(**SGD)
    average, optimizer = WeightAverage(model), optimizer_of(cfg, model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    states = {"model": average.averaged_state(), "raw_model": average.raw_state()}
    path = tmp_path / "model_final.pth"
    write_checkpoint({**states, "optimizer": optimizer.state_dict()}, str(path))
    assert 0.97 * path.stat().st_size < checkpoint_size(cfg, model) < 1.03 * path.stat().st_size
    write_checkpoint({"model": states["model"]}, str(path))
    assert 0.97 * path.stat().st_size < best_model_size(cfg, model) < 1.03 * path.stat().st_size
    cfg.TEST.EVAL_PERIOD = 0
    assert best_model_size(cfg, model) == 0


@pytest.mark.parametrize(
    ("free", "first", "vis_period", "fits"),
    [(85, 0, 0, True), (50, 0, 0, False), (50, 80, 0, True), (85, 0, 1, False)],
)
def test_what_fits(
    monkeypatch: pytest.MonkeyPatch, free: int, first: int, vis_period: int, fits: bool
) -> None:
    """The whole run writes 11 checkpoints of 6 MB, the last 20 steps write 3 of them, and
    VIS_PERIOD 1 adds 100 images."""
    cfg = compact_cfg(SOLVER__MAX_ITER=100, SOLVER__CHECKPOINT_PERIOD=10, VIS_PERIOD=vis_period)
    model = compact_model()
    factor = checkpoint_size(cfg, model) / 6e6
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(int(free * 1e6 * factor)))
    if fits:
        require_space(cfg, model, first_step=first)
    else:
        with pytest.raises(DiskError, match=r"CHECKPOINT_PERIOD, set .*KEEP to"):
            require_space(cfg, model, first_step=first)


def usage(free: int) -> Any:
    return namedtuple("usage", "total used free")(10**12, 10**12 - free, free)


def test_free_space_of_a_folder_that_is_to_be_made(tmp_path: Path) -> None:
    assert free_space(str(tmp_path / "a/b")) == pytest.approx(free_space(str(tmp_path)), rel=0.05)


@pytest.mark.parametrize("host", HOSTS)
def test_a_run_that_does_not_fit_is_refused(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    config = write_run(tmp_path, root)
    command = [
        "--config-file",
        config,
        "--host",
        host,
        "SOLVER.MAX_ITER",
        "2",
        "SOLVER.CHECKPOINT_PERIOD",
        "1",
    ]
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda path: usage(5_000_000))
        words = (
            r"OUTPUT_DIR .*/out: 5\.0 MB are free, and this run needs \d+\.\d MB for 3 checkpoints "
            r"of 2\.\d MB"
        )
        with pytest.raises(DiskError, match=words):
            load_tool("train_net").main(command)
    assert not list((tmp_path / "out").glob("*.pth"))
    # the refused run has left nothing behind
    load_tool("train_net").main([*command, "DATASETS.TEST", "()"])
