"""Runs of version 0.1 load, continue and are evaluated; see version_0_1/README.md."""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from retina_plugin import build_model, load_weights
from retina_plugin.checkpoint import read_checkpoint
from retina_plugin.config import get_cfg
from tests.load_tools import load_tool
from tests.scenes import write_scenes

FILES = Path(__file__).parent / "version_0_1"
EXPECTED = json.loads((FILES / "expected.json").read_text(encoding="utf-8"))
WRITERS = list(EXPECTED)
BIASES = "head.cls_score.bias"
HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder with both runs and their data; process-wide settings are restored
    afterwards."""
    shutil.copytree(FILES, tmp_path, dirs_exist_ok=True)
    write_scenes(tmp_path / "scenes", count=2, seed=0)
    monkeypatch.chdir(tmp_path)
    threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGTERM)
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.parametrize("writer", WRITERS)
def test_weights_and_detections(workspace: Path, writer: str) -> None:
    cfg = get_cfg()
    cfg.merge_from_file(f"{writer}/config.yaml")
    model = build_model(cfg).eval()
    load_weights(model, f"{writer}/model_0000003.pth")
    saved = read_checkpoint(f"{writer}/model_0000003.pth")["model"]
    assert_close(dict(model.state_dict()), dict(saved), rtol=0, atol=0)
    image = torch.from_numpy(np.array(Image.open("scenes/images/001.png"))).permute(2, 0, 1)
    (found,) = model.predict([image])
    require_detections(writer, **found)


def require_detections(writer: str, *, boxes: Any, scores: Any, labels: Any) -> None:
    expected = EXPECTED[writer]["detections"]
    assert torch.as_tensor(labels).tolist() == expected["labels"]
    assert_close(torch.as_tensor(scores), torch.tensor(expected["scores"]), rtol=1e-4, atol=0)
    assert_close(torch.as_tensor(boxes), torch.tensor(expected["boxes"]), rtol=0, atol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
def test_training_continues(workspace: Path, host: str, capsys: pytest.CaptureFixture) -> None:
    """``--resume`` takes the same fifth step as version 0.1: equal losses, learning rate and
    biases."""
    arguments = ["--config-file", f"{host}/config.yaml", "--host", host, "--resume"]
    load_tool("train_net").main(arguments)
    assert f"resume: {host}/model_0000003.pth continues at step 4 of 5" in capsys.readouterr().out
    lines = (workspace / host / "metrics.json").read_text(encoding="utf-8").splitlines()
    step = {name: value for line in map(json.loads, lines) for name, value in line.items()}
    expected = dict(EXPECTED[host]["step"])
    biases = torch.tensor(expected.pop(BIASES))
    assert_close({key: step[key] for key in expected}, expected, rtol=1e-4, atol=0)
    assert "bbox/AP" in step
    final = read_checkpoint(f"{host}/model_final.pth")
    assert final["iteration"] == 4
    # the step changes them by about 5e-4, of which momentum makes half and more
    assert_close(final["model"][BIASES], biases, rtol=0, atol=1e-5)
    assert (workspace / host / "last_checkpoint").read_text(encoding="utf-8") == "model_final.pth"


@pytest.mark.slow
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("host", HOSTS)
def test_evaluation(workspace: Path, host: str, writer: str) -> None:
    """The newest checkpoint is evaluated on the host that wrote it and on the other one."""
    arguments = ["--config-file", f"{writer}/config.yaml", "--host", host, "--eval-only"]
    load_tool("train_net").main([*arguments, "--resume"])
    path = workspace / writer / "inference/coco_instances_results.json"
    results = [r for r in json.loads(path.read_text(encoding="utf-8")) if r["image_id"] == 1]
    boxes = torch.tensor([result["bbox"] for result in results])
    boxes[:, 2:] += boxes[:, :2]
    labels = [[3, 7, 20].index(result["category_id"]) for result in results]
    scores = [result["score"] for result in results]
    require_detections(writer, boxes=boxes, scores=scores, labels=labels)
