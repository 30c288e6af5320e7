"""The exponential moving average of the weights: values by hand, and runs that resume exactly."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from retina_plugin import build_model, load_weights
from retina_plugin.checkpoint import read_checkpoint
from retina_plugin.config import get_cfg
from retina_plugin.engine.host import Request
from retina_plugin.engine.launch import launch
from retina_plugin.solver import WeightAverage, ema
from retina_plugin.solver.ema import WINDOW, decay
from tests.scenes import write_run

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)
EMA = "MODEL.RETINA_PLUGIN.SOLVER.EMA"


class Scalar(nn.Module):
    """A parameter, a frozen parameter, a buffer and a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.frozen = nn.Parameter(torch.zeros(1), requires_grad=False)
        self.register_buffer("count", torch.zeros(1))
        self.norm = nn.BatchNorm2d(1)


def set_all(model: nn.Module, value: float) -> None:
    for tensor in model.state_dict().values():
        tensor.fill_(value)


@pytest.mark.parametrize(
    ("step", "steps", "expected"),
    [
        (1, 10_000, 1 / 10),
        (10, 10_000, 10 / 19),
        (1000, 10_000, 1000 / 1009),
        (10_000, 10_000, 1 - 1 / 500),  # a horizon of 5% of the run
        (20, 20, 0.0),  # the last weights
        (1, 1, 0.0),
        (100, 100, 1 - 1 / 5),
    ],
)
def test_decay(step: int, steps: int, expected: float) -> None:
    assert decay(step, steps) == pytest.approx(expected)


@pytest.mark.parametrize("steps", [40, 200, 1000, 20_000])
def test_a_run_is_not_averaged_with_its_start(steps: int) -> None:
    """The weights before 3/4 of the run count less than 1% at its end, and the average lags by at
    most the horizon."""
    before, lag = 1.0, 0.0
    for step in range(1, steps + 1):
        factor = decay(step, steps)
        lag = factor * (lag + 1)
        if step > 0.75 * steps:
            before *= factor
    assert before < 0.01
    assert lag <= max(WINDOW * steps - 1, 0) + 1e-6


def test_what_is_averaged() -> None:
    """Weights 0, then 1, then 4: (1 - 1/10) * 1 = 0.9, then 2/11 * 0.9 + 9/11 * 4."""
    model = Scalar()
    set_all(model, 0)
    average = WeightAverage(model)
    for step, value in enumerate((1.0, 4.0), start=1):
        set_all(model, value)
        average.update(step=step, steps=10_000)
    expected = 2 / 11 * 0.9 + 9 / 11 * 4
    found = average.averaged_state()
    averaged = {"weight", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"}
    assert found.keys() - averaged == {"frozen", "count", "norm.num_batches_tracked"}
    for name, value in found.items():
        assert value.item() == pytest.approx(expected if name in averaged else 4), name
    assert all(value.item() == 4 for value in average.raw_state().values())


@pytest.mark.parametrize("inference", [False, True])
def test_the_model_has_the_average_for_a_while(inference: bool) -> None:
    model = nn.Linear(3, 2)
    average = WeightAverage(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        model.weight.add_(1)
    average.update(step=1, steps=1000)
    raw = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.inference_mode(inference), average.applied():
        assert_close(model.weight.detach(), before["weight"] * 0.1 + raw["weight"] * 0.9)
        assert_close(dict(average.averaged_state()), dict(model.state_dict()), rtol=0, atol=0)
        assert_close(average.raw_state(), raw, rtol=0, atol=0)
    assert_close(dict(model.state_dict()), raw, rtol=0, atol=0)
    average.update(step=2, steps=1000)  # in-place changes still work


def test_half_precision_is_averaged_in_single_precision() -> None:
    """At 1, bfloat16 has steps of 2^-7: an average in bfloat16 would not move."""
    model = nn.Linear(1, 1, bias=False).bfloat16()
    nn.init.ones_(model.weight)
    average = WeightAverage(model)
    nn.init.constant_(model.weight, 1 + 2**-7)
    average.update(step=10_000, steps=10_000)
    assert average.averaged_state()["weight"].item() == pytest.approx(1 + 2**-7 / 500, abs=1e-8)
    with average.applied():
        assert model.weight.item() == 1
    assert model.weight.item() == 1 + 2**-7


def test_all_ranks_take_the_statistics_of_rank_0(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Scalar()
    average = WeightAverage(model)
    monkeypatch.setattr(ema.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(ema.dist, "broadcast", lambda tensor, src: tensor.fill_(7 + src))
    with average.applied():
        assert model.norm.running_mean.item() == model.norm.running_var.item() == 7
        assert model.norm.weight.item() == 1
    assert model.norm.running_var.item() == 1


def run(folder: Path, config: str, host: str, steps: int, *, resume: bool = False) -> None:
    keys = [EMA, "True", "SOLVER.MAX_ITER", str(steps), "OUTPUT_DIR", str(folder)]
    norm = ["MODEL.RESNETS.NORM", "BN", "SOLVER.CHECKPOINT_PERIOD", "10", "TEST.EVAL_PERIOD", "10"]
    launch(config, [*keys, *norm], Request(resume=resume), host=host)


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
def test_runs(tmp_path: Path, root: Path, host: str) -> None:
    """A resumed run is equal bit by bit to one without a break; "model" is the average, and the
    file of the best model has the weights that were evaluated."""
    config, out = write_run(tmp_path, root), tmp_path / "out"
    run(out, config, host, 30)
    again = tmp_path / "again"
    again.mkdir()
    for name in ("model_0000019.pth", "config.yaml", "model_best.pth"):
        shutil.copy(out / name, again)
    (again / "last_checkpoint").write_text("model_0000019.pth")
    run(again, config, host, 30, resume=True)
    whole, resumed = (read_checkpoint(str(path / "model_final.pth")) for path in (out, again))
    raw = {name: value for name, value in whole["raw_model"].items()}
    for key in ("model", "raw_model"):
        assert_close(dict(resumed[key]), dict(whole[key]), rtol=0, atol=0)
    different = {name for name, value in whole["model"].items() if not value.equal(raw[name])}
    assert "head.cls_score.bias" in different
    assert "backbone.bottom_up.stem.conv1.norm.running_var" in different
    assert "loss_normalizer" not in different
    best = [read_checkpoint(str(path / "model_best.pth")) for path in (out, again)]
    assert_close(dict(best[0]["model"]), dict(best[1]["model"]), rtol=0, atol=0)
    cfg = get_cfg()
    cfg.merge_from_file(str(out / "config.yaml"))
    model = build_model(cfg)
    load_weights(model, str(out / "model_final.pth"))
    assert_close(dict(model.state_dict()), dict(whole["model"]), rtol=0, atol=0)
