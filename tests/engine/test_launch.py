"""Training from Python, on both hosts."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

import retina_plugin
from retina_plugin.engine import stopping
from tests.scenes import write_run

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)
PACKAGES = {"lightning": "retina_plugin.config", "detectron2": "retina_plugin.d2"}


def config_of(host: str, folder: Path, root: Path) -> Any:
    cfg = importlib.import_module(PACKAGES[host]).get_cfg()
    cfg.merge_from_file(write_run(folder, root))
    cfg.merge_from_list(["SOLVER.MAX_ITER", "4", "TEST.EVAL_PERIOD", "2"])
    return cfg


@pytest.mark.parametrize("host", HOSTS)
def test_train(tmp_path: Path, root: Path, host: str, capfd: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(1)
    cfg = config_of(host, tmp_path, root)
    before = cfg.dump()
    metrics = retina_plugin.train(cfg, host=host)
    assert metrics["bbox"].keys() >= {"AP", "AP50", "AP-square"}
    assert (tmp_path / "out/model_final.pth").is_file()
    assert cfg.dump() == before  # MODEL.RETINANET.NUM_CLASSES is still -1
    # both hosts print an evaluation when it happens, and the last one as a table
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
    assert not stopping._handles_here()  # the handlers of signals are the user's again


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
    with pytest.raises(ValueError, match=r"LIGHTNING.LOGGERS names .* take --host lightning"):
        retina_plugin.train(cfg, host="detectron2")
    assert not (tmp_path / "out").exists()
