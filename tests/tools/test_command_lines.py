"""Numbers, devices and addresses on the command lines of all tools: invalid ones give one line
``error: ...`` and exit code 2."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from retina_plugin.engine import process
from tests.load_tools import load_tool
from tests.models import compact_cfg, compact_model
from tests.scenes import write_run

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)
CONFIG = ("--config-file", "a.yaml")
RESULTS = ("--input", "a.json", "--dataset", "b")
DEVICES = ["mps", "xpu", "meta", "gpu", "cuda:99", "cuda:-1", "cuda:", "cpu:3", "CPU", ""]


@pytest.fixture(scope="module")
def tools() -> dict[str, Any]:
    names = (
        "analyze_model",
        "benchmark",
        "compare_losses",
        "compare_models",
        "compare_recipes",
        "demo",
        "plot_losses",
        "train_net",
    )
    return {name: load_tool(name) for name in (*names, "visualize_data", "visualize_json_results")}


def error(capsys: pytest.CaptureFixture, main: Any, *argv: object) -> str:
    """The single line that a tool prints on standard error when it exits with code 2."""
    with pytest.raises(SystemExit) as end:
        process.run(lambda: main([str(word) for word in argv]))
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    ("tool", "arguments", "flag", "values"),
    [
        ("analyze_model", CONFIG, "--repeats", ["0", "-3", "1.5", "nan", "9" * 30]),
        ("analyze_model", (*CONFIG, "--size", "64"), "--size 64", ["0", "-1", "100000", "inf"]),
        ("benchmark", ("loss",), "--repeats", ["0", "-1", "9" * 30]),
        ("benchmark", ("loss",), "--threads", ["0", "-1", "1000000"]),
        ("compare_losses", (), "--jobs", ["0", "-1", "x", "9" * 30]),
        ("compare_models", (), "--minutes", ["0", "-1", "nan", "inf", "1e300"]),
        ("compare_recipes", ("a.yaml",), "--jobs", ["0", "-1", "x", "9" * 30]),
        ("demo", (*CONFIG, "--input", "a"), "--max-frames", ["-1", "x", "9" * 30]),
        (
            "demo",
            (*CONFIG, "--input", "a"),
            "--confidence-threshold",
            ["1.0", "-0.1", "nan", "inf", "50"],
        ),
        ("demo", CONFIG, "--webcam", ["-1", "9" * 30]),
        ("plot_losses", (), "--max-images", ["-1", "9" * 30]),
        ("visualize_data", ("--dataset", "a"), "--max-images", ["-1", "9" * 30]),
        ("visualize_json_results", RESULTS, "--max-images", ["-1", "9" * 30]),
        ("visualize_json_results", RESULTS, "--conf-threshold", ["1.1", "nan", "-1"]),
    ],
)
def test_numbers(
    tools: dict[str, Any],
    capsys: pytest.CaptureFixture,
    tool: str,
    arguments: tuple[str, ...],
    flag: str,
    values: list[str],
) -> None:
    for value in values:
        words = [flag, value] if " " not in flag else [value]  # the second number of a pair
        printed = error(capsys, tools[tool].main, *arguments, *words)
        assert flag.split()[0] in printed
        assert "expected " in printed or "must be at " in printed


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--num-machines", "0"], "--num-machines: expected 1 to"),
        (["--num-machines", "-2"], "--num-machines: expected 1 to"),
        (["--num-gpus", "-1"], "--num-gpus: expected 0 to"),
        (["--num-gpus", "9" * 30], "--num-gpus: expected 0 to"),
        (["--machine-rank", "-1"], "--machine-rank: expected 0 to 0"),
        (
            ["--machine-rank", "2", "--num-machines", "2"],
            "--machine-rank: expected 0 to 1, as --num-machines is 2",
        ),
        *(
            (["--dist-url", url], "--dist-url: expected tcp://HOST:PORT")
            for url in (
                "tcp://127.0.0.1",
                "tcp://:29500",
                "tcp://a:0",
                "tcp://a:70000",
                "tcp://a:b",
                "a:1",
                "",
                "tcp://[",
            )
        ),
        (["--dist-url", "auto", "--num-machines", "2"], "--dist-url: expected tcp://HOST:PORT"),
    ],
)
def test_processes(
    tools: dict[str, Any],
    capsys: pytest.CaptureFixture,
    host: str,
    arguments: list[str],
    words: str,
) -> None:
    assert words in error(capsys, tools["train_net"].main, *CONFIG, "--host", host, *arguments)


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_devices(
    tools: dict[str, Any], capsys: pytest.CaptureFixture, tmp_path: Path, root: Path, device: str
) -> None:
    config = ("--config-file", write_run(tmp_path, root))
    torch.save({"model": {}}, tmp_path / "x.pth")
    (tmp_path / "a.jpg").touch()
    override, weights = ("MODEL.DEVICE", device), ("--weights", tmp_path / "x.pth")
    commands = {
        **{("train_net", host): (*config, "--host", host, *override) for host in HOSTS},
        ("analyze_model", ""): (*config, *override),
        ("plot_losses", ""): (*config, *weights, *override),
        ("demo", ""): (*config, *weights, "--input", tmp_path / "a.jpg", "--opts", *override),
    }
    for (tool, _), command in commands.items():
        assert "MODEL.DEVICE: expected" in error(capsys, tools[tool].main, *command)
    assert "--device" in error(capsys, tools["benchmark"].main, "loss", "--device", device)


@pytest.mark.parametrize("names", [7, "text", [1, 2, 3], ["a", ["b"]], {0: "a"}, [None]])
def test_class_names_of_a_checkpoint(
    tools: dict[str, Any], capsys: pytest.CaptureFixture, tmp_path: Path, names: object
) -> None:
    (tmp_path / "config.yaml").write_text(compact_cfg(MODEL__RETINANET__NUM_CLASSES=3).dump())
    (tmp_path / "a.jpg").touch()
    torch.save(
        {"model": compact_model().state_dict(), "metadata": {"class_names": names}},
        tmp_path / "x.pth",
    )
    command = [
        "--config-file",
        tmp_path / "config.yaml",
        "--weights",
        tmp_path / "x.pth",
        "--input",
        tmp_path / "a.jpg",
    ]
    printed = error(capsys, tools["demo"].main, *command)
    assert (
        f"{tmp_path / 'x.pth'}: expected a list of texts as class_names in its metadata" in printed
    )


@pytest.mark.parametrize("metadata", [7, [1, 2], "text", {"class_names": None}])
def test_metadata_of_another_program_has_no_class_names(
    tools: dict[str, Any], tmp_path: Path, metadata: object
) -> None:
    (tmp_path / "config.yaml").write_text(compact_cfg(MODEL__RETINANET__NUM_CLASSES=3).dump())
    torch.save({"model": compact_model().state_dict(), "metadata": metadata}, tmp_path / "x.pth")
    command = [
        "--config-file",
        str(tmp_path / "config.yaml"),
        "--weights",
        str(tmp_path / "x.pth"),
        "--input",
        "a",
    ]
    detector = tools["demo"].load(tools["demo"].parse(command))
    assert detector.class_names == ["class 0", "class 1", "class 2"]
