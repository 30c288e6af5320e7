"""Complete runs on each host through the command line: files, metrics, checkpoints and error
messages."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from retina_plugin.checkpoint import load_weights, read_checkpoint
from retina_plugin.config import get_cfg, keys
from retina_plugin.config.rules import at_least
from retina_plugin.engine import process
from retina_plugin.losses import auto_alpha
from retina_plugin.modeling.build import build_model
from retina_plugin.modeling.retinanet import RetinaNet
from tests.load_tools import load_tool
from tests.scenes import write_run, write_scenes

pytestmark = pytest.mark.slow

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)
BOTH = pytest.mark.skipif(len(HOSTS) < 2, reason="needs both hosts")
AP_KEYS = {"bbox/AP", "bbox/AP50", "bbox/AP75", "bbox/APs", "bbox/APm", "bbox/APl"}
LOSS_KEYS = {"validation/total_loss", "validation/loss_cls", "validation/loss_box_reg"}
CLASS_KEYS = {"bbox/AP-square", "bbox/AP-bar", "bbox/AP-nothing"}
INTERVAL_KEYS = {"bbox/AP_low", "bbox/AP_high", "bbox/AP50_low", "bbox/AP50_high"}
STEP_KEYS = {
    "iteration",
    "total_loss",
    "loss_cls",
    "loss_box_reg",
    "lr",
    "time",
    "data_time",
    "eta_seconds",
}


@pytest.fixture(scope="module")
def train_net() -> Any:
    """Load ``tools/train_net.py`` as a module."""
    return load_tool("train_net")


@pytest.fixture(scope="module", autouse=True)
def process_wide_settings() -> Any:
    """Restore the settings that a run changes in its process; use one thread, which is fastest for
    tiny models."""
    threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGTERM)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, train_net: Any, root: Path) -> dict[str, Path]:
    """Folder of each host after training on the same scenes for 40 steps with one evaluation in
    between."""
    folders = {}
    for host in HOSTS:
        folders[host] = tmp_path_factory.mktemp(host)
        config = write_run(folders[host], root)
        train_net.main(
            [
                "--config-file",
                config,
                "--host",
                host,
                "TEST.EVAL_PERIOD",
                "25",
                "SOLVER.CHECKPOINT_PERIOD",
                "15",
            ]
        )
    return folders


def metrics(folder: Path) -> list[dict[str, float]]:
    return [
        json.loads(line)
        for line in (folder / "metrics.json").read_text(encoding="utf-8").splitlines()
    ]


def last_ap(folder: Path) -> dict[str, float]:
    """The metrics of the last evaluation, without intervals."""
    keys = AP_KEYS | CLASS_KEYS
    return {key: value for key, value in metrics(folder)[-1].items() if key in keys}


@pytest.mark.parametrize("host", HOSTS)
def test_files(runs: dict[str, Path], host: str) -> None:
    out = runs[host] / "out"
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    expected = {
        "config.yaml",
        "metrics.json",
        "last_checkpoint",
        "model_final.pth",
        "predictions.png",
    }
    expected |= {"model_0000014.pth", "model_0000029.pth", "inference/coco_instances_results.json"}
    assert expected <= found
    assert sum("tfevents" in name for name in found) == 1
    assert not [name for name in found if ".part" in name]
    assert (out / "last_checkpoint").read_text() == "model_final.pth"
    assert (out / "predictions.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("host", HOSTS)
def test_metrics_have_the_same_keys_on_every_host(runs: dict[str, Path], host: str) -> None:
    lines = metrics(runs[host] / "out")
    # only Detectron2 writes it, for distributed runs
    keys = set().union(*lines) - {"rank_data_time"}
    assert keys == STEP_KEYS | AP_KEYS | CLASS_KEYS | INTERVAL_KEYS | LOSS_KEYS
    steps = [line for line in lines if "lr" in line]
    assert {19, 39} <= {line["iteration"] for line in steps}
    assert sum("bbox/AP" in line for line in lines) == 2
    for line in steps:
        assert set(line) >= STEP_KEYS
        assert line["total_loss"] > 0
        assert 0 <= line["data_time"] < line["time"]


@pytest.mark.parametrize("host", HOSTS)
def test_logged_learning_rate(runs: dict[str, Path], host: str) -> None:
    """Linear warm-up over 30 steps from a thousandth of 0.01."""
    rates = {line["iteration"]: line["lr"] for line in metrics(runs[host] / "out") if "lr" in line}
    assert_close(rates[19], 0.01 * (0.001 + 0.999 * 19 / 30))
    assert_close(rates[39], 0.01)


@pytest.mark.parametrize("host", HOSTS)
def test_it_learns(runs: dict[str, Path], host: str) -> None:
    found = last_ap(runs[host] / "out")
    assert set(found) == AP_KEYS | CLASS_KEYS
    assert found["bbox/AP50"] > 20
    assert math.isnan(found["bbox/AP-nothing"])
    assert math.isnan(found["bbox/APl"])


@pytest.mark.parametrize("host", HOSTS)
def test_checkpoint(runs: dict[str, Path], host: str) -> None:
    """The checkpoint loads into the model of the written config without a host, and contains the
    class names."""
    out = runs[host] / "out"
    checkpoint = read_checkpoint(str(out / "model_final.pth"))
    assert all(isinstance(value, torch.Tensor) for value in checkpoint["model"].values())
    assert checkpoint["iteration"] == 39
    cfg = get_cfg()
    cfg.merge_from_file(str(out / "config.yaml"))
    assert cfg.MODEL.RETINANET.NUM_CLASSES == 3
    metadata = load_weights(build_model(cfg), str(out / "model_final.pth"))
    assert metadata["class_names"] == ["square", "bar", "nothing"]
    assert metadata["training_data"]["images"] == 12


@pytest.mark.parametrize("trained_on", HOSTS)
@pytest.mark.parametrize("host", HOSTS)
def test_evaluation_of_a_checkpoint(
    runs: dict[str, Path],
    train_net: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    trained_on: str,
    host: str,
) -> None:
    """Metrics equal those at the end of training on the same host, and nearly equal them on the
    other host."""
    trained = runs[trained_on] / "out"
    weights = ["MODEL.WEIGHTS", str(trained / "model_final.pth"), "OUTPUT_DIR", str(tmp_path)]
    train_net.main(
        ["--config-file", str(trained / "config.yaml"), "--host", host, "--eval-only", *weights]
    )
    expected, found = last_ap(trained), last_ap(tmp_path)
    assert set(found) == set(expected)
    assert (tmp_path / "config.yaml").is_file()
    assert_close(found, expected, rtol=0, atol=1e-6 if host == trained_on else 0.05, equal_nan=True)
    printed = capsys.readouterr().out
    assert f"host: {host} (chosen with --host)" in printed
    assert "A = 4 anchors per cell of p3, p4" in printed
    assert f"{found['bbox/AP']:.1f}" in printed


@pytest.mark.parametrize("host", HOSTS)
def test_evaluation_of_the_last_checkpoint_of_the_other_host(
    runs: dict[str, Path], train_net: Any, tmp_path: Path, host: str
) -> None:
    """``--eval-only --resume`` reads only the weights, so the host that wrote them does not
    matter."""
    for name, content in {"last_checkpoint": b"model_final.pth", "model_final.pth": None}.items():
        (tmp_path / name).write_bytes(content or (runs[HOSTS[0]] / "out" / name).read_bytes())
    config = str(runs[HOSTS[0]] / "out/config.yaml")
    train_net.main(
        [
            "--config-file",
            config,
            "--host",
            host,
            "--eval-only",
            "--resume",
            "OUTPUT_DIR",
            str(tmp_path),
        ]
    )
    assert last_ap(tmp_path)["bbox/AP"] > 0


@pytest.mark.parametrize("host", HOSTS)
def test_weights_of_classes_from_the_training_set(
    train_net: Any, tmp_path: Path, root: Path, capsys: pytest.CaptureFixture, host: str
) -> None:
    """``auto`` weights are printed once and stored; evaluation does not need the training set."""
    config, annotations = write_run(tmp_path, root), tmp_path / "train/annotations.json"
    content = json.loads(annotations.read_text(encoding="utf-8"))
    bars = [a for a in content["annotations"] if a["category_id"] == 7]
    content["annotations"] = [a for a in content["annotations"] if a not in bars[2:]]
    annotations.write_text(json.dumps(content), encoding="utf-8")
    command = ["--config-file", config, "--host", host, "MODEL.RETINANET.FOCAL_LOSS_ALPHA", "auto"]
    train_net.main([*command, "SOLVER.MAX_ITER", "1"])
    expected = [float(f"{a:.4g}") for a in auto_alpha([11, 2, 0])]
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert printed.count(["bar", "2", "15.38%", f"{expected[1]:.4f}"]) == 1
    cfg = get_cfg()
    cfg.merge_from_file(str(tmp_path / "out/config.yaml"))
    assert expected == cfg.MODEL.RETINANET.FOCAL_LOSS_ALPHA
    metadata = read_checkpoint(str(tmp_path / "out/model_final.pth"))["metadata"]
    assert_close(metadata["class_alpha"], expected, rtol=1e-6, atol=0)
    annotations.unlink()
    weights = [
        "MODEL.WEIGHTS",
        str(tmp_path / "out/model_final.pth"),
        "OUTPUT_DIR",
        str(tmp_path / "again"),
    ]
    train_net.main(["--eval-only", *command, *weights])
    assert set(last_ap(tmp_path / "again")) == AP_KEYS | CLASS_KEYS


@pytest.mark.parametrize("host", HOSTS)
def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(
    train_net: Any,
    tmp_path: Path,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    host: str,
) -> None:
    arguments = [
        "--config-file",
        write_run(tmp_path, root),
        "--host",
        host,
        "SOLVER.MAX_ITER",
        "1",
        "DATASETS.TEST",
        "()",
    ]
    train_net.main(arguments)
    files = [tmp_path / "out" / name for name in ("model_final.pth", "last_checkpoint")]
    before = [file.read_bytes() for file in files]

    def full_disk(content: Any, file: Any, *args: Any, **kwargs: Any) -> None:
        file.write(b"half of it")
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(SystemExit, match="2"):
        process.run(lambda: train_net.main(["--resume", *arguments, "SOLVER.MAX_ITER", "2"]))
    assert "out/model_final.pth: no space left" in capsys.readouterr().err
    assert [file.read_bytes() for file in files] == before


@pytest.mark.parametrize("host", HOSTS)
def test_resuming_a_finished_run_evaluates_it(
    runs: dict[str, Path], train_net: Any, host: str, tmp_path: Path
) -> None:
    for name in ("last_checkpoint", "model_final.pth"):
        (tmp_path / name).write_bytes((runs[host] / "out" / name).read_bytes())
    config = str(runs[host] / "out/config.yaml")
    train_net.main(
        ["--config-file", config, "--host", host, "--resume", "OUTPUT_DIR", str(tmp_path)]
    )
    assert last_ap(tmp_path) == pytest.approx(last_ap(runs[host] / "out"), nan_ok=True, abs=1e-6)


@BOTH
@pytest.mark.parametrize(("host", "other"), [HOSTS, HOSTS[::-1]] if len(HOSTS) > 1 else [])
def test_training_is_not_resumed_on_the_other_host(
    runs: dict[str, Path], train_net: Any, host: str, other: str, tmp_path: Path
) -> None:
    for name in ("last_checkpoint", "model_final.pth"):
        (tmp_path / name).write_bytes((runs[host] / "out" / name).read_bytes())
    arguments = ["--config-file", str(runs[host] / "out/config.yaml"), "--host", other, "--resume"]
    with pytest.raises(
        ValueError, match=f"(?i)was written by {host}: resume it with --host {host}"
    ):
        train_net.main([*arguments, "OUTPUT_DIR", str(tmp_path), "SOLVER.MAX_ITER", "50"])


@pytest.mark.parametrize("host", HOSTS)
def test_half_precision_and_pictures_while_training(
    train_net: Any, tmp_path: Path, root: Path, host: str, capfd: pytest.CaptureFixture
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = write_run(tmp_path, root)
    steps = ["SOLVER.MAX_ITER", "3", "VIS_PERIOD", "2", "SOLVER.AMP.ENABLED", "True"]
    train_net.main(["--config-file", config, "--host", host, *steps])
    events = EventAccumulator(str(tmp_path / "out"))
    events.Reload()
    assert "training" in events.Tags()["images"]
    assert {"lr", "total_loss", "bbox/AP"} <= set(events.Tags()["scalars"])
    state = read_checkpoint(str(tmp_path / "out/model_final.pth"))["model"]
    assert {value.dtype for value in state.values()} == {torch.float32}
    shown = capfd.readouterr()
    words = (
        ("loss=", "lr=", "3/3") if host == "lightning" else ("training: 3 steps of 4 images",)
    )  # Detectron2 prints lines, Lightning a progress bar
    assert all(word in shown.out + shown.err for word in words)


@pytest.mark.parametrize("host", HOSTS)
def test_half_precision_is_used_by_convolutions_in_training_only(
    train_net: Any, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    seen: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
    predict_dense = RetinaNet.predict_dense

    def spied(self: RetinaNet, images: torch.Tensor) -> Any:
        predictions, anchors = predict_dense(self, images)
        seen[torch.is_grad_enabled()].add(predictions.logits.dtype)
        return predictions, anchors

    monkeypatch.setattr(RetinaNet, "predict_dense", spied)
    config = write_run(tmp_path, root)
    train_net.main(
        [
            "--config-file",
            config,
            "--host",
            host,
            "SOLVER.MAX_ITER",
            "1",
            "SOLVER.AMP.ENABLED",
            "True",
        ]
    )
    assert seen == {True: {torch.bfloat16}, False: {torch.float32}}


@pytest.mark.parametrize("host", HOSTS)
def test_without_a_test_set(train_net: Any, tmp_path: Path, root: Path, host: str) -> None:
    config = write_run(tmp_path, root)
    train_net.main(
        ["--config-file", config, "--host", host, "SOLVER.MAX_ITER", "1", "DATASETS.TEST", "()"]
    )
    assert (tmp_path / "out/model_final.pth").is_file()
    assert not (tmp_path / "out/predictions.png").exists()


@pytest.mark.parametrize("host", HOSTS)
def test_several_test_sets(train_net: Any, tmp_path: Path, root: Path, host: str) -> None:
    config = write_run(tmp_path, root)
    names = [write_scenes(tmp_path / name, count=3, seed=5) for name in ("a", "b")]
    train_net.main(
        [
            "--config-file",
            config,
            "--host",
            host,
            "SOLVER.MAX_ITER",
            "1",
            "DATASETS.TEST",
            str(names),
        ]
    )
    assert {f"{name}/bbox/AP" for name in names} <= set(metrics(tmp_path / "out")[-1])
    assert len(list((tmp_path / "out/inference").rglob("coco_instances_results.json"))) == 2


@pytest.fixture
def any_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow a learning rate so high that the first step diverges; the range check would refuse
    it."""
    row = keys.DETECTRON2_KEYS["SOLVER.BASE_LR"]._replace(rule=at_least(0))
    monkeypatch.setitem(keys.DETECTRON2_KEYS, "SOLVER.BASE_LR", row)


@pytest.mark.parametrize("host", HOSTS)
def test_a_learning_rate_that_is_far_too_high(
    train_net: Any,
    tmp_path: Path,
    root: Path,
    host: str,
    capsys: pytest.CaptureFixture,
    any_rate: None,
) -> None:
    """The run ends with advice, and its last checkpoint is intact."""
    config = write_run(tmp_path, root)
    overrides = [
        "SOLVER.BASE_LR",
        "1e30",
        "SOLVER.WARMUP_FACTOR",
        "1.0",
        "SOLVER.CHECKPOINT_PERIOD",
        "1",
    ]
    with pytest.raises(SystemExit, match="2"):
        process.run(lambda: train_net.main(["--config-file", config, "--host", host, *overrides]))
    message = capsys.readouterr().err.split("error: ")[-1]
    assert "The loss became" in message
    assert "Lower SOLVER.BASE_LR (it is 1e+30), set SOLVER.WARMUP_FACTOR to 0.001" in message
    assert "--resume continues from the last checkpoint" in message
    read_checkpoint(str(tmp_path / "out" / (tmp_path / "out/last_checkpoint").read_text()))


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("steps", ["1", "2"], ids=["seen in the model", "seen in the loss"])
def test_a_run_that_diverges_in_its_last_step(
    train_net: Any,
    tmp_path: Path,
    root: Path,
    host: str,
    steps: str,
    capsys: pytest.CaptureFixture,
    any_rate: None,
) -> None:
    """No diverged model is written or evaluated, and the run ends with an error."""
    config = write_run(tmp_path, root)
    overrides = ["SOLVER.BASE_LR", "1e30", "SOLVER.WARMUP_FACTOR", "1.0", "SOLVER.MAX_ITER", steps]
    with pytest.raises(SystemExit, match="2"):
        process.run(lambda: train_net.main(["--config-file", config, "--host", host, *overrides]))
    error = capsys.readouterr().err
    assert (
        f" at iteration {int(steps) - 1}, where the learning rate was 1e+30. Lower SOLVER.BASE_LR "
        "(it is" in error
    )
    assert not (tmp_path / "out/model_final.pth").exists()
    assert not (tmp_path / "out/inference").exists()


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        pytest.param(["MODEL.RESNETS.DEPTH", "34"], r"lacks \(\d+\): backbone", id="deeper"),
        pytest.param(
            ["MODEL.RETINANET.NUM_CONVS", "0"],
            r"has unexpected \(\d+\): head.*config.yaml in its "
            r"folder",
            id="smaller",
        ),
        pytest.param(
            ["MODEL.FPN.OUT_CHANNELS", "32"],
            r"has other shapes \(\d+\):\n +backbone.*config.yaml in its folder",
            id="wider",
        ),
    ],
)
@pytest.mark.parametrize("flags", [["--eval-only"], []])
def test_weights_of_another_architecture(
    runs: dict[str, Path],
    train_net: Any,
    tmp_path: Path,
    host: str,
    overrides: list[str],
    words: str,
    flags: list[str],
) -> None:
    out = runs[host] / "out"
    arguments = ["--config-file", str(out / "config.yaml"), "--host", host, *flags, *overrides]
    with pytest.raises(ValueError, match=f"(?s)model_final.pth does not fit this model.*{words}"):
        train_net.main(
            [*arguments, "MODEL.WEIGHTS", str(out / "model_final.pth"), "OUTPUT_DIR", str(tmp_path)]
        )


@pytest.mark.parametrize("host", HOSTS)
def test_a_backbone_starts_training_and_cannot_be_evaluated(
    runs: dict[str, Path], train_net: Any, tmp_path: Path, host: str, capsys: pytest.CaptureFixture
) -> None:
    state = read_checkpoint(str(runs[host] / "out/model_final.pth"))["model"]
    prefix = "backbone.bottom_up."
    arrays = {
        name.removeprefix(prefix): x.contiguous().numpy()
        for name, x in state.items()
        if name.startswith(prefix)
    }
    (tmp_path / "R-18.pkl").write_bytes(pickle.dumps({"model": arrays, "__author__": "me"}))
    command = ["--config-file", str(runs[host] / "out/config.yaml"), "--host", host]
    overrides = [
        "MODEL.WEIGHTS",
        str(tmp_path / "R-18.pkl"),
        "OUTPUT_DIR",
        str(tmp_path),
        "SOLVER.MAX_ITER",
        "1",
    ]
    train_net.main([*command, *overrides])
    assert f"R-18.pkl (me): {len(arrays)} of " in capsys.readouterr().out
    with pytest.raises(
        ValueError, match="only a backbone: training can start from it, but it cannot detect"
    ):
        train_net.main([*command, "--eval-only", *overrides])


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("flags", [["--eval-only"], []])
def test_equal_number_of_classes_with_other_names_is_a_warning(
    runs: dict[str, Path], train_net: Any, tmp_path: Path, host: str, flags: list[str]
) -> None:
    out = runs[host] / "out"
    state = read_checkpoint(str(out / "model_final.pth"))["model"]
    torch.save(
        {"model": state, "metadata": {"class_names": ["other", "bar", "nothing"]}},
        tmp_path / "x.pth",
    )
    overrides = [
        "MODEL.WEIGHTS",
        str(tmp_path / "x.pth"),
        "OUTPUT_DIR",
        str(tmp_path),
        "SOLVER.MAX_ITER",
        "1",
    ]
    with pytest.warns(UserWarning, match="other classes: other in the file, square in this run"):
        train_net.main(
            ["--config-file", str(out / "config.yaml"), "--host", host, *flags, *overrides]
        )


@pytest.mark.parametrize("host", HOSTS)
def test_fine_tuning_with_other_classes(
    runs: dict[str, Path], train_net: Any, tmp_path: Path, host: str, capsys: pytest.CaptureFixture
) -> None:
    state = read_checkpoint(str(runs[host] / "out/model_final.pth"))["model"]
    for name in ("head.cls_score.weight", "head.cls_score.bias"):  # of four anchors
        state[name] = state[name][:4].repeat(7, *[1] * (state[name].dim() - 1))
    torch.save({"model": state}, tmp_path / "other.pth")
    command = ["--config-file", str(runs[host] / "out/config.yaml"), "--host", host]
    overrides = [
        "MODEL.WEIGHTS",
        str(tmp_path / "other.pth"),
        "OUTPUT_DIR",
        str(tmp_path),
        "SOLVER.MAX_ITER",
        "1",
    ]
    with pytest.raises(ValueError, match="7 in the file, 3 in the model"):
        train_net.main([*command, *overrides])
    train_net.main([*command, *overrides, "MODEL.RETINA_PLUGIN.FINE_TUNE", "True"])
    assert "fresh (2): head.cls_score" in capsys.readouterr().out
    train_net.main(
        [*command, "--eval-only", *overrides, "MODEL.WEIGHTS", str(tmp_path / "model_final.pth")]
    )


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    ("flags", "overrides", "words"),
    [
        (["--eval-only"], [], "an evaluation needs a checkpoint: add MODEL.WEIGHTS"),
        (["--eval-only"], ["MODEL.WEIGHTS", "none.pth"], "no checkpoint at none.pth"),
        ([], ["MODEL.WEIGHTS", __file__], "is not a checkpoint that can be read safely"),
        (
            [],
            ["MODEL.RETINANET.NUM_CLASSES", "7"],
            "NUM_CLASSES is 7, but data set .* has 3 classes",
        ),
        (
            [],
            ["MODEL.RETINA_PLUGIN.OPTIMIZER", "Adam"],
            "OPTIMIZER: expected SGD or AdamW, found 'Adam'",
        ),
        ([], ["DATASETS.TRAIN", "('none.json@here',)"], "no annotations at .*none.json"),
        ([], ["DATASETS.TRAIN", "()"], "DATASETS.TRAIN is empty: name a data set"),
        (
            [],
            ["SOLVER.CHECKPOINT_PERIOD", "0"],
            "SOLVER.CHECKPOINT_PERIOD: expected from 1 to 1000000000, found 0",
        ),
        (
            [],
            ["SOLVER.CLIP_GRADIENTS.ENABLEDD", "True"],
            "unknown key .* Did you mean SOLVER.CLIP_GRADIENTS.ENABLED",
        ),
        (
            ["--num-gpus", "3"],
            ["MODEL.DEVICE", "cpu"],
            "3 processes cannot share it|several processes on GPUs only",
        ),
    ],
)
def test_mistakes(
    train_net: Any,
    tmp_path: Path,
    root: Path,
    host: str,
    flags: list[str],
    overrides: list[str],
    words: str,
) -> None:
    config = write_run(tmp_path, root)
    with pytest.raises(ValueError, match=words):
        train_net.main(["--config-file", config, "--host", host, *flags, *overrides])


@pytest.mark.parametrize("host", HOSTS)
def test_nothing_to_learn(train_net: Any, tmp_path: Path, root: Path, host: str) -> None:
    config, path = write_run(tmp_path, root), tmp_path / "train/annotations.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": []}))
    with pytest.raises(ValueError, match="no box to learn from"):
        train_net.main(["--config-file", config, "--host", host])


@pytest.mark.parametrize("host", HOSTS)
def test_a_broken_image_is_named(train_net: Any, tmp_path: Path, root: Path, host: str) -> None:
    config = write_run(tmp_path, root)
    (tmp_path / "train/images/004.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"004\.png cannot be"):
        train_net.main(["--config-file", config, "--host", host])


NEAR = """from retina_plugin.config import Key
from retina_plugin.modeling import ASSIGNER_REGISTRY
@ASSIGNER_REGISTRY.register(keys={"RADIUS": Key(2.0, "strides")})
class Near(ASSIGNER_REGISTRY.get("MaxIoUAssigner")):
    def __init__(self, *, radius, **arguments):
        super().__init__(**arguments)
        assert radius == 3.0
"""


@pytest.mark.long
def test_two_processes_take_the_steps_of_one(
    train_net: Any, tmp_path: Path, root: Path, write_modules: Callable
) -> None:
    """Two CPU processes on Lightning get the same weights as one process.

    They see the same images, and share the normalizer and the averaged gradients. Each process
    imports a part from outside before it reads the part's key. All images are cropped to one size,
    because a batch is padded to its largest image.
    """
    write_modules(my_near=NEAR)
    node = "MODEL.RETINA_PLUGIN"
    part = [f"{node}.IMPORTS", "['my_near']", f"{node}.ASSIGNER.NAME", "Near"]
    part += [f"{node}.ASSIGNER.Near.RADIUS", "3.0"]
    config = write_run(tmp_path, root)
    crop = [
        "INPUT.CROP.ENABLED",
        "True",
        "INPUT.CROP.TYPE",
        "absolute",
        "INPUT.CROP.SIZE",
        "[64, 64]",
    ]
    steps = ["SOLVER.MAX_ITER", "4", "MODEL.RETINA_PLUGIN.OPTIMIZER", "SGD", *crop, *part]
    arguments = ["--config-file", config, "--host", "lightning", *steps]
    train_net.main([*arguments, "OUTPUT_DIR", str(tmp_path / "one")])
    command = [
        sys.executable,
        str(root / "tools/train_net.py"),
        *arguments[:4],
        "--num-gpus",
        "2",
        *arguments[4:],
    ]
    path = os.pathsep.join([str(root), str(tmp_path)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd=root, env=environment
    )
    assert result.returncode == 0, result.stderr
    one, two = (
        read_checkpoint(str(tmp_path / name / "model_final.pth"))["model"]
        for name in ("one", "out")
    )
    assert_close(two, one, rtol=1e-3, atol=1e-5)
    assert [set(line) for line in metrics(tmp_path / "out")] == [
        set(line) for line in metrics(tmp_path / "one")
    ]
    for key in ("total_loss", "loss_cls"):
        assert_close(
            metrics(tmp_path / "out")[0][key], metrics(tmp_path / "one")[0][key], rtol=1e-3, atol=0
        )
    assert (
        len(
            {
                r["image_id"]
                for r in json.loads(
                    (tmp_path / "out/inference/coco_instances_results.json").read_text()
                )
            }
        )
        > 3
    )
