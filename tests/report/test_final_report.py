"""The report at the end of a training run, on both hosts."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from retina_plugin.config import get_cfg
from retina_plugin.config.disk import DiskError
from retina_plugin.engine.host import Request
from retina_plugin.engine.launch import launch
from retina_plugin.losses.parts import CLASS_LOSSES
from retina_plugin.report.page import final_report
from retina_plugin.report.page.focal_section import alpha_of_losses
from tests.scenes import write_run

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)
REPORT = "MODEL.RETINA_PLUGIN.TEST.REPORT"


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
def test_a_run_ends_with_its_report(
    tmp_path: Path, root: Path, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    opts = ["SOLVER.MAX_ITER", "2", REPORT, "True", "SEED", "-1"]
    launch(write_run(tmp_path, root), opts, Request(), host=host)
    out = tmp_path / "out"
    assert capsys.readouterr().out.splitlines()[-1] == f"report: {out / 'report.html'}"
    page = (out / "report.html").read_text(encoding="utf-8")
    (start,) = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert start["host"] == host
    for text in (
        f"host {host}, device cpu",
        f"torch {start['versions']['torch']}",
        "drawn because",
    ):
        assert text in page
    assert "this page was made with" not in page
    assert "What focal loss does" in page
    assert not list(out.glob("*.part*"))


@pytest.mark.parametrize(
    "error", [DiskError("the disk is full."), ValueError("one\ntwo"), ZeroDivisionError()]
)
def test_an_error_is_one_line_with_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(final_report, "write_report", fail)
    cfg = get_cfg()
    cfg.OUTPUT_DIR = "my runs/a"
    final_report.write_final_report(cfg)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("report: not written, ")
    assert line.endswith("To try again: retina report 'my runs/a'")


def test_the_report_can_be_switched_off(capsys: pytest.CaptureFixture[str]) -> None:
    cfg = get_cfg()
    cfg.MODEL.RETINA_PLUGIN.TEST.REPORT = False
    final_report.write_final_report(cfg)
    assert capsys.readouterr().out == ""


def test_alpha_of_each_loss() -> None:
    """Of 3 and 1 boxes: 1 / (f + eps) is 4 / 4 and 4 / 2, and the mean of the weights is 0.25."""
    cfg = get_cfg()
    cfg.MODEL.RETINANET.FOCAL_LOSS_ALPHA = [0.3, 0.7]
    found = alpha_of_losses(cfg, [3, 1])
    assert found["cross entropy"] == [1, 1]
    assert found["balanced, 1 / (f + eps)"] == pytest.approx([0.25 * 2 / 3, 0.25 * 4 / 3])
    assert sum(found["balanced, auto"]) == pytest.approx(0.5)
    assert found["focal"] == [0.25, 0.25]
    assert found["this run, focal"] == [0.3, 0.7]
    cfg.MODEL.RETINANET.FOCAL_LOSS_ALPHA = -1.0
    assert alpha_of_losses(cfg, [3, 1])["this run, focal"] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("name", "weight"),
    [("ce", 1), ("quality_focal", 1), ("varifocal", 1), ("balanced_ce", 0.3), ("focal_star", 0.3)],
)
def test_alpha_of_the_loss_of_a_run(name: str, weight: float) -> None:
    """It is the ratio of the losses of a positive with and without alpha."""
    cfg = get_cfg()
    cfg.MODEL.RETINA_PLUGIN.CLASS_LOSS.NAME, cfg.MODEL.RETINANET.FOCAL_LOSS_ALPHA = name, 0.3
    assert alpha_of_losses(cfg, [3])[f"this run, {name}"] == [weight]
    logits, labels = torch.tensor([[0.5]]), torch.tensor([0])
    weighted, plain = (
        CLASS_LOSSES.get(name)(alpha=alpha, gamma=2.0)(logits, labels) for alpha in (0.3, -1.0)
    )
    assert float(weighted / plain) == pytest.approx(weight)
