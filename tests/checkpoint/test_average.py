"""The average of checkpoints: by hand, files that do not belong together, and the tool."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from retina_plugin import load_weights
from retina_plugin.checkpoint import WeightsError, read_checkpoint
from retina_plugin.checkpoint.average import average_checkpoints
from retina_plugin.engine import process
from tests.load_tools import load_tool
from tests.models import compact_model

pytestmark = pytest.mark.slow


def write(folder: Path, name: str, model: dict[str, Tensor], **others: Any) -> str:
    """Write a checkpoint with two classes."""
    path = folder / name
    torch.save({"model": model, "metadata": {"class_names": ["cat", "dog"]}, **others}, path)
    return str(path)


def numbers(*values: float, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor(values, dtype=dtype)


def test_by_hand(tmp_path: Path) -> None:
    """Integers and the metadata are those of the last file, without its score thresholds."""
    first = {"w": numbers(1, 2), "half": numbers(1, dtype=torch.bfloat16), "n": torch.tensor(5)}
    second = {"w": numbers(3, 8), "half": numbers(2, dtype=torch.bfloat16), "n": torch.tensor(9)}
    metadata = {
        "class_names": ["cat", "dog"],
        "score_thresholds": {"cat": 0.5},
        "pixel_range": [0, 9],
        "config": {"SEED": 3},
    }
    paths = [
        write(tmp_path, "a.pth", first, iteration=4, optimizer={"lr": 1.0}),
        write(tmp_path, "b.pth", second, iteration=9, metadata=metadata),
    ]
    found = average_checkpoints(paths)
    expected = {
        "w": numbers(2, 5),
        "half": numbers(1.5, dtype=torch.bfloat16),
        "n": torch.tensor(9),
    }
    assert_close(found.pop("model"), expected, rtol=0, atol=0)
    assert found == {
        "metadata": {
            "class_names": ["cat", "dog"],
            "pixel_range": [0, 9],
            "config": {"SEED": 3},
        },
        "iteration": 9,
        "averaged": ["a.pth", "b.pth"],
    }


def test_equal_checkpoints_stay(tmp_path: Path) -> None:
    weights = {"w": torch.rand(50)}
    paths = [write(tmp_path, f"{i}.pth", weights) for i in range(3)]
    assert_close(average_checkpoints(paths)["model"], weights, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            {"v": numbers(1, 2)},
            r"b.pth has another model than .*a.pth: for v, expected the shape none",
        ),
        (
            {"w": numbers(1)},
            r"for w, expected the shape \(2,\), found \(1,\). Average checkpoints of",
        ),
        (
            {"w": numbers(1, float("nan"))},
            r"b.pth: w is NaN or infinite. Leave this checkpoint out",
        ),
    ],
)
def test_other_models(tmp_path: Path, other: dict[str, Tensor], message: str) -> None:
    paths = [write(tmp_path, "a.pth", {"w": numbers(1, 2)}), write(tmp_path, "b.pth", other)]
    with pytest.raises(WeightsError, match=message):
        average_checkpoints(paths)


def test_other_classes(tmp_path: Path) -> None:
    paths = [write(tmp_path, "a.pth", {"w": numbers(1)})]
    paths.append(
        write(tmp_path, "b.pth", {"w": numbers(1)}, metadata={"class_names": ["dog", "cat"]})
    )
    with pytest.raises(
        WeightsError, match=r"b.pth: expected the classes of .*a.pth, cat, dog, found"
    ):
        average_checkpoints(paths)


def test_too_few_files(tmp_path: Path) -> None:
    path = write(tmp_path, "a.pth", {"w": numbers(1)})
    with pytest.raises(
        WeightsError, match=r"two checkpoints or more, found only .*a.pth. A run keeps"
    ):
        average_checkpoints([path])
    with pytest.raises(WeightsError, match="is the same file as"):
        average_checkpoints([path, str(tmp_path / "." / "a.pth")])


def test_the_last_checkpoints_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The tool takes the last two of three, and the result loads into the model. Another file of
    the last step, which Detectron2 writes beside model_final.pth, does not count twice."""
    tool, models = load_tool("average_checkpoints"), [compact_model() for _ in range(3)]
    names = ("model_0000009.pth", "model_0000019.pth", "model_final.pth")
    for i, (name, model) in enumerate(zip(names, models, strict=True)):
        metadata = {"class_names": ["a", "b", "c"]}
        write(tmp_path, name, model.state_dict(), metadata=metadata, iteration=10 * i + 9)
    write(tmp_path, "model_best.pth", models[0].state_dict())
    write(tmp_path, "model_0000029.pth", models[0].state_dict(), iteration=29)
    tool.main([str(tmp_path), "--last", "2"])
    assert f"the mean of {names[1]}, {names[2]}" in capsys.readouterr().out
    loaded = compact_model()
    load_weights(loaded, str(tmp_path / "model_swa.pth"))
    for name, value in loaded.named_parameters():
        expected = (models[1].get_parameter(name) + models[2].get_parameter(name)) / 2
        assert_close(value, expected)
    assert read_checkpoint(str(tmp_path / "model_swa.pth"))["iteration"] == 29
    assert not list(tmp_path.glob("*.part*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["{folder}", "--last", "3"],
            "--last: expected checkpoints of 3 steps in .* found 2. Ask for fewer",
        ),
        (["{folder}", "{folder}/model_final.pth"], "expected one folder or only files"),
        (["{folder}/model_final.pth"], "--output: expected a file"),
        (
            ["{folder}/model_final.pth", "--output", "{folder}/model_final.pth"],
            "is one of the checkpoints: give another file",
        ),
        (
            ["{folder}/model_final.pth", "--output", "{folder}/x.pth"],
            "needs two checkpoints or more, found only",
        ),
        (["{folder}", "--last", "1"], "--last"),
    ],
)
def test_messages_of_the_tool(
    tmp_path: Path, capsys: pytest.CaptureFixture, words: list[str], message: str
) -> None:
    for name, iteration in (("model_0000009.pth", 9), ("model_final.pth", 19)):
        write(tmp_path, name, {"w": numbers(1)}, iteration=iteration)
    tool = load_tool("average_checkpoints")
    with pytest.raises(SystemExit) as end:
        process.run(lambda: tool.main([word.format(folder=tmp_path) for word in words]))
    assert end.value.code == 2
    printed = capsys.readouterr().err
    assert re.search(message, printed), printed
    assert len(list(tmp_path.iterdir())) == 2


def test_a_broken_last_checkpoint_is_not_left_out(tmp_path: Path) -> None:
    for step in (9, 19):
        write(tmp_path, f"model_{step:07d}.pth", {"w": numbers(1)})
    (tmp_path / "model_final.pth").write_bytes(b"cut off")
    with pytest.raises(WeightsError, match=r"model_final\.pth"):
        load_tool("average_checkpoints").main([str(tmp_path), "--last", "2"])
