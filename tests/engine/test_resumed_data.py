"""A run is resumed only with the data that it was started with, on either host."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from retina_plugin.config.errors import ConfigError
from tests.load_tools import load_tool
from tests.scenes import write_run

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)
SHORT = ["SOLVER.MAX_ITER", "1", "SOLVER.WARMUP_ITERS", "0", "DATASETS.TEST", "()"]


@pytest.fixture(scope="module", params=HOSTS)
def run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, root: Path
) -> Any:
    """(folder, ``tools/train_net.py``, its command line) of a run of one step."""
    folder, tool = tmp_path_factory.mktemp(request.param), load_tool("train_net")
    command = ["--config-file", write_run(folder, root), "--host", request.param, *SHORT]
    tool.main(command)
    yield folder, tool, command
    torch.set_flush_denormal(False)


def drop_image(content: dict[str, Any]) -> None:
    number = content["images"].pop()["id"]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != number]


def move_box(content: dict[str, Any]) -> None:
    content["annotations"][0]["bbox"] = [1, 1, 12, 12]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (
            drop_image,
            "was trained on 12 images with 23 boxes, DATASETS.TRAIN now has 11 images "
            "with 21 boxes",
        ),
        (move_box, "12 images with 23 boxes, DATASETS.TRAIN now has the same numbers, but other"),
    ],
)
def test_changed_annotations(run: Any, edit: Callable, words: str) -> None:
    folder, tool, command = run
    path = folder / "train" / "annotations.json"
    before = path.read_text()
    content = json.loads(before)
    edit(content)
    path.write_text(json.dumps(content))
    try:
        with pytest.raises(ConfigError, match=words):
            tool.main(["--resume", *command, "SOLVER.MAX_ITER", "2"])
    finally:
        path.write_text(before)
    assert "sha256" not in (folder / "out" / "config.yaml").read_text()


@pytest.mark.slow
def test_the_same_data_elsewhere_and_a_checkpoint_without_a_fingerprint(
    run: Any, capsys: pytest.CaptureFixture
) -> None:
    """Both runs are resumed."""
    folder, tool, command = run
    (folder / "train").rename(folder / "moved")
    train = f"{folder}/moved/annotations.json@{folder}/moved/images"
    config = folder / "out" / "config.yaml"
    config.write_text(config.read_text().replace(f"{folder}/train/", f"{folder}/moved/"))
    command = ["--resume", *command, "DATASETS.TRAIN", f"('{train}',)", "SOLVER.MAX_ITER"]
    tool.main([*command, "2"])
    path = folder / "out" / "model_final.pth"
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["metadata"].pop("training_data")["images"] == 12
    torch.save(checkpoint, path)
    tool.main([*command, "3"])
    assert "continues at step 2 of 3" in capsys.readouterr().out
    assert torch.load(path, weights_only=True)["metadata"]["training_data"]["images"] == 12
