"""``tools/compare_models.py``: its runs, which runs are repeated, and its table."""

from __future__ import annotations

import importlib
import json
import math
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from retina_plugin import get_cfg
from tests.scenes import write_run


@pytest.fixture
def tool(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(root / "tools"))
    return importlib.import_module("compare_models")


@pytest.mark.long
@pytest.mark.long
def test_a_run_keeps_to_its_minutes_and_is_not_repeated(
    tool: ModuleType,
    tmp_path: Path,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(tool, "DATA", {"digits": write_run(tmp_path, root)})
    monkeypatch.setattr(tool, "BACKBONES", {"ResNet-18": ("resnet", {})})
    monkeypatch.setattr(tool, "NECKS", ("bifpn",))
    monkeypatch.setattr(tool, "PROBE_STEPS", 6)  # Detectron2 does not time the first three steps
    monkeypatch.setattr(
        tool, "steps_in", lambda minutes, seconds: 3 if (minutes, seconds > 0) == (0.5, True) else 0
    )
    argv = [
        "--minutes",
        "0.5",
        "--output-dir",
        str(tmp_path / "models"),
        "MODEL.RETINANET.SCORE_THRESH_TEST",
        "0.0",
    ]
    tool.main(argv)
    printed = capsys.readouterr().out
    (row,) = json.loads((tmp_path / "models/results.json").read_text(encoding="utf-8"))
    assert (row["steps"], row["images_a_step"]) == (3, 4)
    assert "AP" in row["metrics"]
    assert f"| ResNet-18 | BiFPN | {row['metrics']['AP']:.1f} |" in printed
    written = (tmp_path / "models/ResNet-18-bifpn/config.yaml").read_text(encoding="utf-8")
    assert "build_retina_resnet_bifpn_backbone" in written
    assert "MAX_ITER: 3" in written
    monkeypatch.setattr(subprocess, "Popen", None)  # a call would fail
    tool.main(argv)
    assert capsys.readouterr().out == printed
    with pytest.raises(ValueError, match=r"bifpn-probe contains a run with other arguments"):
        tool.main([*argv, "SOLVER.BASE_LR", "0.1"])
    monkeypatch.setattr(tool, "steps_in", lambda *_: 4)
    with pytest.raises(
        ValueError,
        match=r"bifpn contains a run with other arguments: .* "
        r"SOLVER.MAX_ITER 3 .*--output-dir",
    ):
        tool.main(argv)


@pytest.mark.parametrize(
    ("minutes", "seconds", "steps"), [(2.0, 0.5, 240), (1.0, 0.7, 85), (0.1, 10.0, 1)]
)
def test_number_of_steps(tool: ModuleType, minutes: float, seconds: float, steps: int) -> None:
    assert tool.steps_in(minutes, seconds) == steps


def test_minutes_are_positive(tool: ModuleType, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        tool.parse(["--minutes", "0"])
    assert "--minutes: expected more than 0, found 0" in capsys.readouterr().err


def test_every_model_has_a_valid_config(tool: ModuleType, root: Path) -> None:
    for backbone in tool.BACKBONES:
        for neck in tool.NECKS:
            for config in tool.DATA.values():
                cfg = get_cfg()
                cfg.merge_from_file(str(root / config))
                cfg.merge_from_list(tool.options_of(backbone, neck))
                assert cfg.MODEL.BACKBONE.NAME.endswith(f"_{neck}_backbone")


def test_the_table(tool: ModuleType) -> None:
    cost = {
        "parameters": 1.234,
        "gflops": 0.5,
        "ms": 12.34,
        "images_a_step": 8,
        "seconds_a_step": 0.5,
        "steps": 100,
    }
    rows = [
        {"backbone": "A", "neck": "fpn", "metrics": {"AP": 12.34, "AP50": 56.78}, **cost},
        {"backbone": "B", "neck": "bifpn", "metrics": {}, **cost},
        {"backbone": "B", "neck": "pafpn", "metrics": {"AP": math.nan, "AP50": math.nan}, **cost},
    ]
    assert tool.table(rows).splitlines()[2:] == [
        "| A | FPN | 12.3 | 56.8 | 1.23 | 0.50 | 12.3 | 16.0 | 100 |",
        "| B | BiFPN | 0.0 | 0.0 | 1.23 | 0.50 | 12.3 | 16.0 | 100 |",
        "| B | PAFPN | 0.0 | 0.0 | 1.23 | 0.50 | 12.3 | 16.0 | 100 |",
    ]
