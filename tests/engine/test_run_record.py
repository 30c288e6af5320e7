"""The record of the starts of a run: command, versions, and what a resumed run adds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import retina_plugin
from retina_plugin.config import get_cfg
from retina_plugin.engine.host import Request
from retina_plugin.engine.run_record import command_line, read_starts, record_start, versions


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["/usr/bin/retina", "train", "SEED", "1"], "retina train SEED 1"),
        (["tools/train_net.py", "--data", "my data"], "python tools/train_net.py --data 'my data'"),
        (["/a/retina_plugin/cli/__main__.py", "train"], "python -m retina_plugin.cli train"),
        ([""], "python"),
    ],
)
def test_command(argv: list[str], expected: str) -> None:
    assert command_line(argv) == expected


def test_versions() -> None:
    found = versions()
    assert found["retina_plugin"] == retina_plugin.__version__
    assert found["torch"] == torch.__version__
    assert found["numpy"].count(".") >= 1


def test_starts_are_added_by_resumed_runs_only(tmp_path: Path) -> None:
    cfg = get_cfg()
    cfg.merge_from_list(["OUTPUT_DIR", str(tmp_path), "MODEL.DEVICE", "cpu"])
    assert read_starts(str(tmp_path)) == []
    record_start(cfg, Request(), host="lightning", resumed=None)
    record_start(cfg, Request(), host="detectron2", resumed=str(tmp_path / "model_0000009.pth"))
    first, second = read_starts(str(tmp_path))
    assert (first["host"], first["resumed_from"]) == ("lightning", None)
    assert (second["host"], second["resumed_from"]) == ("detectron2", "model_0000009.pth")
    assert second["device"] == "cpu"
    assert second["threads"] >= 1
    record_start(cfg, Request(), host="lightning", resumed=None)
    assert len(read_starts(str(tmp_path))) == 1


@pytest.mark.parametrize("text", ["", "[1]", "{}", "[{"])
def test_a_file_that_is_no_record_is_left_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text, encoding="utf-8")
    assert read_starts(str(tmp_path)) == []


def test_names_of_any_script_are_readable(tmp_path: Path) -> None:
    cfg = get_cfg()
    cfg.merge_from_list(["OUTPUT_DIR", str(tmp_path), "MODEL.DEVICE", "cpu"])
    record_start(cfg, Request(), host="lightning", resumed=None)
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))[0]["seed"] == cfg.SEED
