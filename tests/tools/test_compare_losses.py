"""``tools/compare_losses.py``: its runs, which runs are repeated, and its table."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retina_plugin.report.frequency import ap_by_frequency
from tests.load_tools import load_tool
from tests.scenes import write_run


@pytest.fixture(scope="module")
def tool() -> Any:
    return load_tool("compare_losses")


@pytest.mark.long
@pytest.mark.long
def test_runs_end_in_a_table_and_a_figure_and_are_not_repeated(
    tool: Any,
    tmp_path: Path,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    config = write_run(tmp_path, root)
    train = f"{tmp_path / 'train/annotations.json'}@{tmp_path / 'train/images'}"
    what = {
        "config": config,
        "train": train,
        "seeds": (1,),
        "losses": ["focal 2 auto"],
        "overrides": {},
    }
    monkeypatch.setattr(tool, "DATA", {"digits": what})
    argv = [
        "--output-dir",
        str(tmp_path / "runs"),
        "SOLVER.MAX_ITER",
        "2",
        "MODEL.RETINANET.SCORE_THRESH_TEST",
        "0.0",
    ]
    tool.main(argv)
    printed = capsys.readouterr().out
    assert "| focal 2 auto |" in printed
    assert "CPU seconds a run" in printed
    kept = (tmp_path / "runs/focal_2_auto-1/config.yaml").read_text(encoding="utf-8")
    assert "FOCAL_LOSS_ALPHA:\n    - 0." in kept  # a weight for each class
    with Image.open(tmp_path / "runs/ap_by_frequency.png") as picture:
        assert min(picture.size) > 300
    assert "square (11) | bar (11) | nothing (0)" in (tmp_path / "runs/table.md").read_text(
        encoding="utf-8"
    )
    monkeypatch.setattr(subprocess, "Popen", None)  # a call would fail
    tool.main(argv)
    assert capsys.readouterr().out == printed
    with pytest.raises(
        ValueError,
        match=r"focal_2_auto-1 contains a run with other arguments: .* SOLVER.MAX_ITER 2 "
        r".*--output-dir",
    ):
        tool.main([*argv, "SOLVER.BASE_LR", "0.1"])


def test_the_table(tool: Any) -> None:
    """Means over seeds, classes by frequency; a run without detections has no metrics and counts as
    0."""
    results = {
        "CE": [
            {"AP": math.nan},
            {"AP": 2.0, "AP50": 4.0, "AP-a": 1.0, "AP-b": 3.0, "AP-c": math.nan},
        ],
        "focal 2": [{"AP": 40.0, "AP50": 60.0, "AP-a": 30.0, "AP-b": 50.0, "AP-c": math.nan}] * 2,
    }
    assert tool.table(results, ["a", "b", "c"], [5, 500, 50]).splitlines() == [
        "| loss | AP | AP50 | b (500) | c (50) | a (5) | AP of each seed |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| CE | 1.0 | 2.0 | 1.5 | nan | 0.5 | 0.0, 2.0 |",
        "| focal 2 | 40.0 | 60.0 | 50.0 | nan | 30.0 | 40.0, 40.0 |",
    ]


def test_every_run_has_a_valid_config(tool: Any, root: Path) -> None:
    from retina_plugin import get_cfg

    for what in tool.DATA.values():
        for loss in what["losses"]:
            cfg = get_cfg()
            cfg.merge_from_file(str(root / what["config"]))
            pairs = what["overrides"] | tool.LOSSES[loss]
            cfg.merge_from_list([word for pair in pairs.items() for word in pair])
            assert json.dumps(cfg.DATASETS.TRAIN) == json.dumps([what["train"]])


def test_the_figure_leaves_out_a_class_that_never_occurs() -> None:
    figure = ap_by_frequency({"focal": [10.0, 50.0, 0.0]}, [5, 500, 0])
    assert figure.dtype == np.uint8
    assert np.array_equal(figure, ap_by_frequency({"focal": [10.0, 50.0]}, [5, 500]))
    assert not np.array_equal(figure, ap_by_frequency({"focal": [10.0, 60.0]}, [5, 500]))
