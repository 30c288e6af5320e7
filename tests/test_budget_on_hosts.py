"""Runs with a time budget on each host. On the clock of most of them, each step takes a second."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from retina_plugin.checkpoint import read_checkpoint
from retina_plugin.config import ConfigError, get_cfg
from retina_plugin.engine import budget, run_budget
from retina_plugin.engine.budget import Budget
from retina_plugin.engine.run_folder import describe_run
from retina_plugin.lit.run import HOST
from tests.load_tools import load_tool
from tests.scenes import write_run

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)
COSINE = ["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.WARMUP_ITERS", "2"]
Train = Callable[..., None]


class Clock:
    """A clock that only steps and evaluations move."""

    now = 100.0
    step_seconds = 1.0
    evaluation_seconds = 2.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of all budgets; the estimate for an evaluation is right."""
    clock = Clock()

    class ScriptedBudget(Budget):
        def __init__(self, seconds: float, **options: Any) -> None:
            super().__init__(
                seconds, **{**options, "started": clock.now, "clock": clock, "cpu_clock": clock}
            )

        def start(self, *, evaluation_seconds: float) -> None:
            super().start(evaluation_seconds=clock.evaluation_seconds)

        def finish_step(self) -> None:
            clock.now += clock.step_seconds
            super().finish_step()

        def measure_evaluation(self) -> Any:
            measured = super().measure_evaluation()
            return _Slow(measured, clock)

    monkeypatch.setattr(run_budget, "Budget", ScriptedBudget)
    monkeypatch.setattr(budget, "CHECKPOINT_SECONDS", 0.0)
    return clock


class _Slow:
    """A context that takes the time of an evaluation."""

    def __init__(self, context: Any, clock: Clock) -> None:
        self.context, self.clock = context, clock

    def __enter__(self) -> None:
        self.context.__enter__()
        self.clock.now += self.clock.evaluation_seconds

    def __exit__(self, *error: Any) -> Any:
        return self.context.__exit__(*error)


@pytest.fixture(params=HOSTS)
def train(request: pytest.FixtureRequest, tmp_path: Path, root: Path) -> Iterator[Train]:
    """A function that trains on scenes with a host and more arguments."""
    config, tool = write_run(tmp_path, root), load_tool("train_net")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    command = ["--config-file", config, "--host", request.param, *COSINE]
    yield lambda *arguments: tool.main([*command, *arguments])
    torch.set_num_threads(threads)


def metrics(folder: Path) -> list[dict[str, float]]:
    lines = (folder / "metrics.json").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_a_run_with_a_budget(
    train: Train, tmp_path: Path, clock: Clock, capfd: pytest.CaptureFixture
) -> None:
    """Four evaluations take 2 s each, and the pictures 3 s. The other 49 of 60 s are for steps."""
    train("--minutes", "1", "TEST.EVAL_PERIOD", "10")
    out = tmp_path / "out"
    found = metrics(out)
    assert found[-1]["iteration"] == 48
    assert clock.now - 100 == 49 + 4 * 2
    evaluations = [line["iteration"] + 1 for line in found if "bbox/AP" in line]
    assert evaluations == [13, 25, 37, 49]
    scalars = {line["iteration"]: line for line in found if "lr" in line}
    left = [round(scalars[k]["eta_seconds"]) for k in (19, 39, 48)]
    assert left[:2] == [60 - 22, 60 - 46]
    assert left[2] in (60 - 55, 60 - 57)  # Detectron2 writes after the last evaluation
    rates = [scalars[k]["lr"] for k in (19, 39, 48)]
    cosine = [0.01 * (1 + math.cos(math.pi * k / 49)) / 2 for k in (19, 39, 48)]
    assert rates == pytest.approx(cosine, rel=0.05, abs=1e-6)
    checkpoint = read_checkpoint(str(out / "model_final.pth"))
    assert checkpoint["iteration"] == 48
    assert checkpoint["budget"]["decision"][:3] == [49, 0, 1.0]
    shown = capfd.readouterr()
    assert "training: 1 minutes in all, first estimate 40 steps" in shown.out
    assert "left, about 49 steps in all" in shown.out + shown.err
    assert "repeats the run, without a time budget: SOLVER.MAX_ITER 49" in shown.out
    first, record = get_cfg(), get_cfg()
    first.merge_from_file(str(out / "config.yaml"))
    record.merge_from_file(str(out / "config_final.yaml"))
    assert first.MODEL.RETINA_PLUGIN.SOLVER.MINUTES == 1
    assert record.MODEL.RETINA_PLUGIN.SOLVER.MINUTES == 0
    assert (record.SOLVER.MAX_ITER, record.TEST.EVAL_PERIOD) == (49, 12)


@pytest.mark.slow
def test_a_resumed_run(train: Train, tmp_path: Path, clock: Clock) -> None:
    """The learning rate continues where it was, and the run has the time that was left."""
    out, command = tmp_path / "out", ["--minutes", "1", "DATASETS.TEST", "()"]
    train(*command, "SOLVER.CHECKPOINT_PERIOD", "20")
    whole = {line["iteration"]: line["lr"] for line in metrics(out)}
    (out / "model_final.pth").unlink()
    (out / "last_checkpoint").write_text("model_0000019.pth")
    for path in (out / "metrics.json", out / "model_0000039.pth"):
        path.unlink()
    clock.now += 500  # between both commands
    train(*command, "--resume")
    again = {line["iteration"]: line["lr"] for line in metrics(out)}
    assert max(again) == max(whole) == 56
    assert {k: whole[k] for k in again} == pytest.approx(again, rel=0.05, abs=1e-6)
    with pytest.raises(ConfigError, match=r"finished after 57 steps: .* larger MODEL.*MINUTES"):
        train(*command)
    train(*command, "--resume")  # all steps are done
    assert max(line["iteration"] for line in metrics(out)) == 56
    train("--resume", "--minutes", "1.5", "DATASETS.TEST", "()")
    assert read_checkpoint(str(out / "model_final.pth"))["iteration"] == 86


@pytest.mark.slow
def test_a_finished_run_without_a_budget_is_evaluated(
    train: Train, tmp_path: Path, clock: Clock, capfd: pytest.CaptureFixture
) -> None:
    """Only a larger MAX_ITER gives the run more steps. From then on the minutes decide, until the
    run has no budget again."""
    final, steps = str(tmp_path / "out/model_final.pth"), "SOLVER.MAX_ITER"
    train(steps, "4")
    train(steps, "4", "--resume", "--minutes", "1")
    assert read_checkpoint(final)["iteration"] == 3
    assert "is now evaluated; to train on for the 1 minutes of MODEL" in capfd.readouterr().out
    train(steps, "8", "--resume", "--minutes", "1")
    assert read_checkpoint(final)["iteration"] > 40
    train(steps, "70", "--resume")
    assert read_checkpoint(final)["iteration"] == 69


@pytest.mark.slow
def test_a_budget_below_one_step(train: Train, tmp_path: Path, clock: Clock) -> None:
    clock.step_seconds = 3.0
    with pytest.raises(ConfigError, match=r"the first step 3\.0 s.* Give at least 0\.2"):
        train("--minutes", "0.1")
    assert describe_run(str(tmp_path / "out"), HOST) is None
    train("--minutes", "0.3")  # in the same folder
    assert metrics(tmp_path / "out")[-1]["iteration"] == 3


@pytest.mark.slow
def test_a_model_that_diverges_in_the_last_step_is_not_saved(
    train: Train, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which step is the last one is known only after it."""
    for module in ("retina_plugin.lit.module", "retina_plugin.d2.trainer"):
        if module in sys.modules:
            monkeypatch.setattr(f"{module}.has_finite_predictions", lambda model: False)
    with pytest.raises(FloatingPointError, match="at iteration 6"):
        train("--minutes", "0.2", "SOLVER.CHECKPOINT_PERIOD", "5")
    assert not (tmp_path / "out/model_final.pth").exists()
    assert (tmp_path / "out/model_0000004.pth").exists()


@pytest.mark.long  # it compares times, which other load on the machine changes
@pytest.mark.parametrize("host", HOSTS)
def test_wall_time(tmp_path: Path, root: Path, host: str) -> None:
    """The whole command takes 24 s, with 5% or 1.5 s more or less."""
    command = [sys.executable, "tools/train_net.py", "--config-file", write_run(tmp_path, root)]
    started = time.monotonic()
    subprocess.run(
        [*command, "--host", host, "--minutes", "0.4", "TEST.EVAL_PERIOD", "10"],
        cwd=root,
        check=True,
        capture_output=True,
    )
    assert time.monotonic() - started == pytest.approx(24, abs=1.5)
