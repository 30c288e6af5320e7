"""``retina export`` and ``retina eval --weights FILE``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from retina_plugin.checkpoint.checksum import save_with_checksum
from retina_plugin.cli import command
from retina_plugin.config import get_cfg
from retina_plugin.data import DatasetError
from retina_plugin.modeling.build import build_model
from tests.scenes import write_run, write_scenes


def write_checkpoint(folder: Path, root: Path) -> Path:
    """Write a run folder with a checkpoint that was not trained; return its path."""
    cfg = get_cfg()
    cfg.merge_from_file(write_run(folder, root))
    cfg.MODEL.RETINANET.NUM_CLASSES = 3
    torch.manual_seed(0)
    model = build_model(cfg)
    torch.nn.init.normal_(model.head.cls_score.weight, std=0.3)
    out = folder / "out"
    out.mkdir()
    (out / "config.yaml").write_text(cfg.dump(), encoding="utf-8")
    metadata = {"class_names": ["square", "bar", "nothing"], "score_thresholds": {"bar": 0.5}}
    content = {"model": model.state_dict(), "metadata": metadata}
    save_with_checksum(content, str(out / "model_final.pth"))
    (out / "last_checkpoint").write_text("model_final.pth")
    return out


@pytest.mark.slow
def test_an_exported_file_is_evaluated_like_the_checkpoint(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    out, path = write_checkpoint(tmp_path, root), tmp_path / "model.onnx"
    command.main(["export", str(out), "--format", "onnx", "--output", str(path)])
    printed = capsys.readouterr().out
    assert f"weights: {out / 'model_final.pth'}, config: {out / 'config.yaml'}" in printed
    assert "equal to the model on images of" in printed
    data = f"{tmp_path / 'test/annotations.json'}@{tmp_path / 'test/images'}"
    command.main(["eval", "--weights", str(path), "--data", data])
    assert "AP50" in capsys.readouterr().out
    command.main(["eval", str(out), "--host", "lightning"])
    found, expected = (
        json.loads((folder / "inference/coco_instances_results.json").read_text())
        for folder in (tmp_path / "model_evaluation", out)
    )
    assert len(found) == len(expected) > 20
    for one, other in zip(found, expected, strict=True):
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)
        assert one["image_id"] == other["image_id"]
    other = write_scenes(tmp_path / "other", count=3, seed=3)
    text = (tmp_path / "other/annotations.json").read_text().replace('"nothing"', '"bar 2"')
    content = json.loads(text)
    content["categories"].append({"id": 21, "name": "more"})
    (tmp_path / "other/annotations.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r"has 4 classes, and .* predicts 3: square, bar"):
        command.main(["eval", "--weights", str(path), "--data", other])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["eval", "--weights", "model.onnx"], "model.onnx names no data set: add --data DATA"),
        (
            ["eval", "out", "--weights", "model.onnx", "--data", "d"],
            "model.onnx contains its config",
        ),
        (["eval", "out", "--output", "there"], "only for exported files; set OUTPUT_DIR"),
        (["export", "out", "--format", "onnx"], "the following arguments are required: --output"),
        (["export", "out", "--format", "tensorrt", "--output", "x"], "invalid choice: 'tensorrt'"),
        (
            ["export", "out", "--format", "onnx", "--output", "x", "--size", "640"],
            "expected HEIGHTxWIDTH such as 480x640, found '640'",
        ),
    ],
)
def test_command_lines(words: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        command.parse(words)
    assert message in capsys.readouterr().err


def test_another_data_set_for_a_checkpoint() -> None:
    args = command.parse(["eval", "out", "--data", "my.json@images"])
    assert args.opts == ["DATASETS.TEST", "('my.json@images',)"]
