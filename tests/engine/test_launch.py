"""Training from Python, on both hosts."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import retina_plugin
from retina_plugin.config import ConfigError, get_cfg
from retina_plugin.engine import stopping
from retina_plugin.engine.host import Host, Request
from retina_plugin.engine.launch import MODULES
from retina_plugin.engine.prepare import check_request
from tests.scenes import write_run

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)
PACKAGES = {"lightning": "retina_plugin.config", "detectron2": "retina_plugin.d2"}


def config_of(host: str, folder: Path, root: Path) -> Any:
    cfg = importlib.import_module(PACKAGES[host]).get_cfg()
    cfg.merge_from_file(write_run(folder, root))
    cfg.merge_from_list(["SOLVER.MAX_ITER", "4", "TEST.EVAL_PERIOD", "2"])
    return cfg


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
def test_train(tmp_path: Path, root: Path, host: str, capfd: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(1)
    cfg = config_of(host, tmp_path, root)
    before = cfg.dump()
    metrics = retina_plugin.train(cfg, host=host)
    assert metrics["bbox"].keys() >= {"AP", "AP50", "AP-square"}
    assert (tmp_path / "out/model_final.pth").is_file()
    assert cfg.dump() == before  # the caller's config is unchanged
    # both hosts print each evaluation, and the last one as a table
    printed = capfd.readouterr().out
    assert printed.count("evaluation after step 2 of 4: AP ") == 1
    assert "evaluation after step 4" not in printed
    with pytest.raises(ValueError, match="a run that finished after 4 steps"):
        retina_plugin.train(cfg, host=host)
    cfg.SOLVER.MAX_ITER = 5
    retina_plugin.train(cfg, host=host, resume=True)
    assert "continues at step 4 of 5" in capfd.readouterr().out
    retina_plugin.train(cfg, host=host, overwrite=True)
    assert (tmp_path / "out.1/model_final.pth").is_file()
    assert not stopping._handles_here()  # signal handlers are restored


@pytest.mark.skipif(len(HOSTS) < 2, reason="needs both hosts")
@pytest.mark.parametrize(
    ("host", "other", "words"),
    [
        ("lightning", "detectron2", r"it has key .* Begin with cfg = retina_plugin.config.get_cfg"),
        ("detectron2", "lightning", r"it lacks key .* Begin with cfg = retina_plugin.d2.get_cfg"),
    ],
)
def test_a_config_of_the_other_host(
    tmp_path: Path, root: Path, host: str, other: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        retina_plugin.train(config_of(other, tmp_path, root), host=host)


@pytest.mark.skipif(len(HOSTS) < 2, reason="needs both hosts")
def test_detectron2_refuses_parts_of_lightning(tmp_path: Path, root: Path) -> None:
    cfg = config_of("detectron2", tmp_path, root)
    cfg.MODEL.RETINA_PLUGIN.LIGHTNING.LOGGERS = [{"class_path": "lightning.pytorch.loggers.X"}]
    with pytest.raises(ValueError, match=r"LIGHTNING.LOGGERS names .* choose --host lightning"):
        retina_plugin.train(cfg, host="detectron2")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"host": "tpu"}, r"host: expected auto, detectron2 or lightning, found 'tpu'"),
        (
            {"cfg": "my.yaml"},
            r"cfg: expected .*found str 'my.yaml': .*merge_from_file\('my.yaml'\)",
        ),
        ({"cfg": Path("my.yaml")}, r"found PosixPath .*merge_from_file\('my.yaml'\)"),
        ({"cfg": None}, r"cfg: expected a config from retina_plugin.get_cfg\(\), found NoneType"),
        ({"cfg": {"MODEL": {}}}, r"cfg: expected .* found dict"),
        ({"resume": True, "overwrite": True}, r"resume and overwrite: give only one"),
    ],
)
def test_arguments_that_cannot_be_used(arguments: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        retina_plugin.train(**{"cfg": get_cfg(), "host": "lightning", **arguments})


NEAR = """from retina_plugin.config import Key
from retina_plugin.modeling import ASSIGNER_REGISTRY
from retina_plugin.modeling.assigners.max_iou import MaxIoUAssigner
@ASSIGNER_REGISTRY.register(keys={"RADIUS": Key(2.0, "strides")})
class Near(MaxIoUAssigner):
    def __init__(self, *, radius, **arguments):
        super().__init__(**arguments)
"""


def host_of(name: str) -> Host:
    return importlib.import_module(MODULES[name]).HOST


@pytest.mark.parametrize("host", HOSTS)
def test_imports_that_were_not_merged(
    tmp_path: Path, root: Path, host: str, write_modules: Callable
) -> None:
    """``IMPORTS`` set as an attribute, or in a new process of a run: parts and keys are
    available."""
    write_modules(my_near=NEAR)
    cfg = config_of(host, tmp_path, root)
    cfg.MODEL.RETINA_PLUGIN.IMPORTS = ["my_near"]
    cfg.MODEL.RETINA_PLUGIN.ASSIGNER.NAME = "Near"
    check_request(cfg, Request(), host_of(host))
    assert cfg.MODEL.RETINA_PLUGIN.ASSIGNER.Near.RADIUS == 2.0
    again = importlib.import_module(PACKAGES[host]).get_cfg()
    (tmp_path / "again.yaml").write_text(host_of(host).dump(cfg), encoding="utf-8")
    again.merge_from_file(str(tmp_path / "again.yaml"))
    assert again == cfg


@pytest.mark.parametrize("host", HOSTS)
def test_a_part_whose_module_is_not_in_imports(
    tmp_path: Path, root: Path, host: str, write_modules: Callable
) -> None:
    write_modules(my_near=NEAR)
    importlib.import_module("my_near")
    cfg = config_of(host, tmp_path, root)
    cfg.MODEL.RETINA_PLUGIN.ASSIGNER.NAME = "Near"
    with pytest.raises(
        ConfigError, match=r"'Near' is defined in module my_near, .*config.yaml of this run"
    ):
        retina_plugin.train(cfg, host=host)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("name", ["build_nope", "", "build_resnet_backbone"])
def test_unknown_backbones(tmp_path: Path, root: Path, host: str, name: str) -> None:
    """A backbone of Detectron2 is known on Detectron2 and unknown on Lightning."""
    cfg = config_of(host, tmp_path, root)
    cfg.MODEL.BACKBONE.NAME = name
    if host == "detectron2" and name == "build_resnet_backbone":
        check_request(cfg, Request(), host_of(host))
        return
    with pytest.raises(ConfigError, match=rf"MODEL\.BACKBONE\.NAME: no backbone .*'{name}'\. \w+:"):
        retina_plugin.train(cfg, host=host)
    assert not (tmp_path / "out").exists()
