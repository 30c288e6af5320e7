"""The settings, errors and records of a run with a time budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from retina_plugin.cli import command
from retina_plugin.config import ConfigError, check_rules, get_cfg
from retina_plugin.engine import evaluation_time
from retina_plugin.engine.budget import Budget
from retina_plugin.engine.budget_state import budget_state, is_finished, planned_steps
from retina_plugin.engine.run_budget import (
    FINAL_CONFIG,
    build_budget,
    continue_budget,
    finish_step,
    finished_config,
    start_steps,
    steps_of_schedule,
    write_finished_config,
)
from retina_plugin.evaluation.detect import detect_samples
from retina_plugin.modeling.build import build_model
from retina_plugin.modeling.structures import Measured
from tests.engine.test_budget import Machine, budget_of
from tests.scenes import write_run

MINUTES = "MODEL.RETINA_PLUGIN.SOLVER.MINUTES"


def cfg_of(*overrides: Any) -> Any:
    cfg = get_cfg()
    cfg.merge_from_list([MINUTES, 20.0, *overrides])
    return cfg


def test_without_minutes_there_is_no_budget() -> None:
    assert build_budget(get_cfg(), started=0.0) is None


@pytest.mark.parametrize(
    ("overrides", "end"),
    [
        # pictures 3 s, checkpoint 0.5 s, and the evaluations of 4 s each
        ([], 3.5 + 4),
        (["DATASETS.TEST", ()], 3.5),
        # validation on half as many images as the test
        (["MODEL.RETINA_PLUGIN.DATASETS.VALIDATION", ("{test}",), "DATASETS.TEST", ()], 3.5 + 4),
        (
            [
                "MODEL.RETINA_PLUGIN.DATASETS.VALIDATION",
                ("{test}",),
                "DATASETS.TEST",
                ("{train}",),
                "TEST.EVAL_PERIOD",
                10,
            ],
            3.5 + 4 + 2 * 4,
        ),
    ],
)
def test_time_of_the_end(tmp_path: Path, root: Path, overrides: list[Any], end: float) -> None:
    """The test set has 6 images, the training set 12."""
    cfg = get_cfg()
    cfg.merge_from_file(write_run(tmp_path, root))
    names = {"{test}": cfg.DATASETS.TEST[0], "{train}": cfg.DATASETS.TRAIN[0]}
    overrides = [
        tuple(names[v] for v in value) if isinstance(value, tuple) else value for value in overrides
    ]
    cfg.merge_from_list([MINUTES, 20.0, *overrides])
    budget = build_budget(cfg, started=0.0)
    assert budget is not None
    assert (budget.seconds, budget.predicted_steps) == (1200, 40)
    budget.start(evaluation_seconds=4.0)
    assert budget.end_seconds == end


@pytest.mark.parametrize(
    ("overrides", "steps", "expected"),
    [
        ([], 840, {"SOLVER.MAX_ITER": 840, "TEST.EVAL_PERIOD": 0}),
        (["TEST.EVAL_PERIOD", 100], 250, {"TEST.EVAL_PERIOD": 25}),  # ten evaluations
        (["TEST.EVAL_PERIOD", 100], 2, {"TEST.EVAL_PERIOD": 1}),
        (["SOLVER.STEPS", (600, 900)], 500, {"SOLVER.STEPS": (300, 450)}),
        (["SOLVER.STEPS", (600, 999)], 100, {"SOLVER.STEPS": (60,)}),  # not at the end
        (["SOLVER.WARMUP_ITERS", 70], 500, {"SOLVER.WARMUP_ITERS": 35}),
        (["SOLVER.WARMUP_ITERS", 70], 2000, {"SOLVER.WARMUP_ITERS": 70}),
    ],
)
def test_config_of_a_finished_run(overrides: list[Any], steps: int, expected: Any) -> None:
    cfg = cfg_of("SOLVER.MAX_ITER", 1000, "SOLVER.STEPS", (), *overrides)
    cfg.freeze()
    found = finished_config(cfg, steps)
    assert steps == found.SOLVER.MAX_ITER
    assert found.MODEL.RETINA_PLUGIN.SOLVER.MINUTES == 0
    for key, value in expected.items():
        node, name = key.split(".")
        assert found[node][name] == value
    check_rules(found)
    assert cfg.SOLVER.MAX_ITER == 1000


def test_the_file_of_a_finished_run_reads_back(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    cfg, budget = (
        cfg_of("OUTPUT_DIR", str(tmp_path), "SOLVER.STEPS", (100, 20000)),
        budget_of(Machine(), steps=90),
    )
    budget.skip_to(90)
    write_finished_config(cfg, budget, lambda found: found.dump())
    printed = capsys.readouterr().out
    assert printed.startswith(f"{tmp_path / FINAL_CONFIG} repeats the run, without a time budget")
    again = get_cfg()
    again.merge_from_file(str(tmp_path / FINAL_CONFIG))
    assert again.SOLVER.MAX_ITER == 90
    assert [path.name for path in tmp_path.iterdir()] == [FINAL_CONFIG]


def test_the_config_of_a_run_that_ended_early_keeps_the_schedule(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """PATIENCE ends a run after 30 of 120 steps: its learning rates are the first quarter of the
    schedule, and an evaluation every 10% of it stays one every 12 steps."""
    machine = Machine()
    options = {"final_evaluations": 0.0, "closing_seconds": 0.0}
    budget = budget_of(machine, 120.0, steps=120, **options)
    budget.start(evaluation_seconds=0.0)
    for _ in range(30):
        machine.work(1.0)
        budget.finish_step()
    steps = steps_of_schedule(budget)
    assert steps == pytest.approx(120, abs=2)
    cfg = cfg_of("OUTPUT_DIR", str(tmp_path), "SOLVER.MAX_ITER", 1000, "TEST.EVAL_PERIOD", 100)
    cfg.merge_from_list(["SOLVER.STEPS", ()])
    write_finished_config(cfg, budget, lambda found: found.dump())
    assert "repeats the run, which ended early after step 30," in capsys.readouterr().out
    again = get_cfg()
    again.merge_from_file(str(tmp_path / FINAL_CONFIG))
    assert steps == again.SOLVER.MAX_ITER
    assert again.TEST.EVAL_PERIOD == 12


def test_a_budget_below_one_step_says_what_was_measured_and_what_to_give() -> None:
    machine = Machine()
    budget = budget_of(machine, 6.0)
    machine.work(3.0)
    start_steps(budget, evaluation_seconds=0.3)
    machine.work(2.5)
    with pytest.raises(ConfigError) as error:
        finish_step(budget)
    assert str(error.value) == (
        f"{MINUTES} 0.1: expected enough for one step, but the start took 3.0 s, the first step "
        "2.5 s, and the end (evaluation, checkpoint, pictures) needs about 2.8 s. Give at least "
        "0.2; 100 steps need about 4.3"
    )


def test_a_budget_below_the_start() -> None:
    machine = Machine()
    budget = budget_of(machine, 6.0)
    machine.work(7.0)
    with pytest.raises(ConfigError, match=r"the start took 7\.0 s, and the end .* Give at least"):
        start_steps(budget, evaluation_seconds=0.0)


def test_a_resumed_run_whose_budget_is_used_up() -> None:
    machine = Machine()
    budget = budget_of(machine, 60.0)
    budget.start(evaluation_seconds=0.0)
    for _ in range(10):
        machine.work(1.0)
        budget.finish_step()
    machine.work(60.0)
    resumed = budget_of(machine, 60.0)
    continue_budget(resumed, {"budget": budget.state_dict()}, steps=10)
    with pytest.raises(ConfigError, match=r"has used 1\.2 minutes in its 10 steps.* give 2\.9"):
        start_steps(resumed, evaluation_seconds=0.0)


def finished_budget(seconds: float) -> Budget:
    machine = Machine()
    budget = budget_of(machine, seconds)
    budget.start(evaluation_seconds=0.0)
    while not budget.is_finished:
        machine.work(10.0)
        budget.finish_step()
    return budget


@pytest.mark.parametrize(
    ("minutes", "finished"), [(2.0, True), (1.0, True), (3.0, False), (0.0, False)]
)
def test_whether_a_run_is_finished(minutes: float, finished: bool) -> None:
    """Without a budget, MAX_ITER decides."""
    budget = finished_budget(120.0)
    checkpoint, cfg = {"budget": budget.state_dict()}, cfg_of(MINUTES, minutes)
    assert is_finished(cfg, checkpoint, step=budget.steps) == finished
    steps = f"about {budget.steps}" if minutes else "40000"
    assert planned_steps(cfg, checkpoint) == steps
    assert (budget_state(cfg, checkpoint) is None) == (minutes == 0)


def test_a_checkpoint_without_a_budget() -> None:
    assert is_finished(cfg_of("SOLVER.MAX_ITER", 50), {}, step=50)
    assert not is_finished(cfg_of("SOLVER.MAX_ITER", 50), {}, step=49)
    budget = budget_of(Machine())
    continue_budget(budget, {}, steps=250)
    assert (budget.steps, budget.progress) == (250, 0.25)


@pytest.mark.parametrize(("step", "finished"), [(999, False), (1000, True)])
def test_a_checkpoint_without_a_budget_has_as_many_steps_left_as_max_iter_says(
    step: int, finished: bool
) -> None:
    budget = budget_of(Machine(), steps=1000)
    continue_budget(budget, {}, steps=step)
    assert budget.is_finished == finished
    assert is_finished(cfg_of("SOLVER.MAX_ITER", 1000), {}, step=step) == finished


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["SOLVER.RESCALE_INTERVAL", True], f"SOLVER.RESCALE_INTERVAL for {MINUTES}: .* False"),
        ([MINUTES, -1.0], f"{MINUTES}: expected from 0"),
    ],
)
def test_settings_that_are_refused(overrides: list[Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_rules(cfg_of(*overrides))


def test_the_flag_sets_the_key() -> None:
    from retina_plugin.cli.train import overrides

    args = command.parse(["train", "--config-file", "a.yaml", "SEED", "3", "--minutes", "2.5"])
    assert overrides(args) == [MINUTES, "2.5", "SEED", "3"]
    args = command.parse(["train", "--config-file", "a.yaml", "SEED", "3"])
    assert overrides(args) == ["SEED", "3"]


def test_the_estimate_of_an_evaluation_measures_losses_too(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As evaluations during training do."""
    cfg = get_cfg()
    cfg.merge_from_file(write_run(tmp_path, root))
    cfg.MODEL.RETINANET.NUM_CLASSES = 3
    found: list[Measured] = []

    def detect(*arguments: Any) -> Measured:
        found.append(detect_samples(*arguments))
        return found[-1]

    monkeypatch.setattr(evaluation_time, "detect_samples", detect)
    estimate = evaluation_time.estimate_evaluation_seconds
    assert estimate(build_model(cfg), cfg, processes=1) > evaluation_time.LOADER_SECONDS
    assert found
    assert all(len(measured.losses) == 1 for measured in found)
