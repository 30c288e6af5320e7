"""The commands and the code of docs/predict.md run."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from retina_plugin.cli import command
from retina_plugin.config.files import write_atomically
from tests.inference.small_detector import FEW, write_checkpoint
from tests.models import compact_cfg
from tests.scenes import write_scenes

pytestmark = pytest.mark.slow

cv2 = pytest.importorskip("cv2")


def blocks(root: Path, language: str) -> str:
    text = (root / "docs/predict.md").read_text(encoding="utf-8")
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder as the page assumes it."""
    (tmp_path / "out").mkdir()
    write_checkpoint(tmp_path / "out/model_final.pth")
    write_atomically(str(tmp_path / "out/config.yaml"), compact_cfg(**FEW).dump())
    write_atomically(str(tmp_path / "out/last_checkpoint"), "model_final.pth")
    write_scenes(tmp_path / "my", count=2, seed=0)
    shutil.copytree(tmp_path / "my/images", tmp_path / "more/deep")
    for path in ("photo.jpg", "more/deep/a.jpg"):
        cv2.imwrite(str(tmp_path / path), np.zeros((64, 80, 3), np.uint8))
    writer = cv2.VideoWriter(
        str(tmp_path / "film.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 5, (64, 48)
    )
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands(workspace: Path, root: Path) -> None:
    lines = [shlex.split(line) for line in blocks(root, "bash").splitlines()]
    commands = [words[1:] for words in lines if words[:2] == ["retina", "predict"]]
    assert len(commands) == 7
    for words in commands:
        if "0" not in words and "model_final_5bd44e.pkl" not in words:  # a webcam, a download
            command.main(words)
    assert (workspace / "detections/detections.json").is_file()
    assert (workspace / "found/coco.json").is_file()
    assert (workspace / "sliced/pictures/001.jpg").is_file()


def test_code(workspace: Path, root: Path, capsys: pytest.CaptureFixture) -> None:
    exec(blocks(root, "python"), {})
    assert (workspace / "found.jpg").is_file()
    assert "002.png" in capsys.readouterr().out
