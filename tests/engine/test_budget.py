"""Runs with a time budget on a clock that the test moves: they end in time, at the end of the
learning rate schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from retina_plugin.engine.budget import Budget, format_time
from retina_plugin.engine.step_times import StepTimes
from retina_plugin.solver import build_progress_scheduler
from tests.solver.configs import cfg_of

MINUTE = 60.0


class Machine:
    """A clock, and the speed of the machine at each time."""

    def __init__(self, slowness: Callable[[float], float] = lambda t: 1.0) -> None:
        self.now, self.cpu, self.slowness = 0.0, 0.0, slowness

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        """Do what takes ``seconds`` on a machine of speed 1."""
        self.now += seconds * self.slowness(self.now)
        self.cpu += seconds

    def cpu_clock(self) -> float:
        """The processor time, which another program does not change."""
        return self.cpu


def budget_of(machine: Machine, seconds: float = 2 * MINUTE, **options: Any) -> Budget:
    plan = {
        "steps": 1000,
        "evaluation_period": 0,
        "final_evaluations": 1.0,
        "closing_seconds": 2.0,
        **options,
    }
    return Budget(seconds, started=machine.now, clock=machine, cpu_clock=machine.cpu_clock, **plan)


def cosine(budget: Budget) -> Any:
    """A learning rate of 1 that falls to 0 by a cosine."""
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    solver = cfg_of(LR_SCHEDULER_NAME="WarmupCosineLR", WARMUP_ITERS=0, BASE_LR=1.0).SOLVER
    return build_progress_scheduler(optimizer, solver, lambda: budget.progress)


def train(
    budget: Budget,
    machine: Machine,
    *,
    step: float = 0.1,
    start: float = 3.0,
    evaluation: float = 2.0,
    estimate: float = 2.0,
    until: Callable[[], bool] = lambda: False,
) -> SimpleNamespace:
    """Train to the end of the budget: the start, steps with checkpoints and evaluations, the end.

    Returns:
        The progress and learning rate of each step, and the steps of the evaluations.
    """
    machine.work(start)
    budget.start(evaluation_seconds=estimate)
    scheduler = cosine(budget)
    run = SimpleNamespace(progress=[], rates=[], evaluations=[])
    while not (budget.is_finished or until()):
        run.progress.append(budget.progress)
        run.rates.append(scheduler.get_last_lr()[0])
        machine.work(step * (5 if len(run.rates) == 1 else 1))  # the first step is slow
        budget.finish_step()
        scheduler.optimizer.step()
        scheduler.step()
        if budget.steps % 100 == 0:
            with budget.measure_checkpoint():
                machine.work(0.2)
        if budget.is_evaluation_due:
            run.evaluations.append(budget.steps)
            with budget.measure_evaluation():
                machine.work(evaluation)
    if budget.is_finished:
        machine.work(0.2 + evaluation + 2.0)
    return run


def slower_from(time: float, factor: float = 2.0) -> Callable[[float], float]:
    return lambda now: factor if now >= time else 1.0


@pytest.mark.parametrize(
    ("slowness", "step", "options"),
    [
        pytest.param(lambda t: 1.0, 0.1, {}, id="constant speed"),
        pytest.param(lambda t: 1.0, 0.1, {"steps": 40_000}, id="a first guess far too high"),
        pytest.param(lambda t: 1.0, 0.1, {"steps": 20}, id="a first guess far too low"),
        pytest.param(slower_from(MINUTE), 0.1, {}, id="half as fast from the middle"),
        pytest.param(slower_from(MINUTE, 0.5), 0.2, {}, id="twice as fast from the middle"),
        pytest.param(slower_from(110.0), 0.1, {}, id="half as fast at the end"),
        pytest.param(lambda t: 3.0 if t % 10 > 5 else 1.0, 0.1, {}, id="another program at times"),
        pytest.param(lambda t: 1.0, 0.1, {"estimate": 0.5}, id="low estimate of the end"),
        pytest.param(lambda t: 1.0, 9.0, {}, id="twelve steps"),
    ],
)
def test_a_run_ends_in_time_and_at_the_end_of_the_schedule(
    slowness: Callable[[float], float], step: float, options: dict[str, Any]
) -> None:
    machine = Machine(slowness)
    estimate = options.pop("estimate", 2.0)
    budget = budget_of(machine, **options)
    run = train(budget, machine, step=step, estimate=estimate)
    assert machine.now == pytest.approx(2 * MINUTE, rel=0.05)
    assert budget.predicted_steps == budget.steps == len(run.rates)
    assert run.progress == sorted(run.progress)
    assert run.progress[0] == 0
    assert budget.progress == 1
    # the last of N steps of a run without a budget has the rate at progress 1 - 1 / N
    last = max(0.01, 1.5 / len(run.rates))
    assert run.rates[-1] <= (1 + math.cos(math.pi * (1 - last))) / 2


def test_at_constant_speed_the_schedule_is_that_of_a_run_with_the_final_number_of_steps() -> None:
    machine = Machine()
    run = train(budget_of(machine), machine)
    steps = len(run.progress)
    expected = [k / steps for k in range(steps)]
    assert run.progress == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("slowness", "evaluation"), [(lambda t: 1.0, 3.6), (slower_from(MINUTE), 2.4)]
)
def test_the_planned_number_of_evaluations_is_kept(
    slowness: Callable[[float], float], evaluation: float
) -> None:
    """Ten evaluations take 30% of the time; the one after the last step is not counted here."""
    machine = Machine(slowness)
    budget = budget_of(machine, evaluation_period=100)
    run = train(budget, machine, evaluation=evaluation)
    assert len(run.evaluations) == 9
    assert machine.now == pytest.approx(2 * MINUTE, rel=0.05)
    assert run.progress[-1] == pytest.approx(1, abs=0.01)
    reached = [run.progress[step] for step in run.evaluations]
    assert reached == pytest.approx([k / 10 for k in range(1, 10)], abs=0.01)


def test_evaluations_that_would_take_all_of_the_time_are_left_out() -> None:
    machine = Machine()
    budget = budget_of(machine, evaluation_period=20)  # 49 of 10 s
    run = train(budget, machine, evaluation=10.0)
    assert 0 < len(run.evaluations) < 10
    assert budget.steps > 100
    assert machine.now == pytest.approx(2 * MINUTE, rel=0.05)


def test_a_step_that_is_longer_than_what_is_left_is_not_started() -> None:
    """After the start and the first step 17 s are left, and a step takes 15 s, the end 5 s."""
    machine = Machine()
    budget = budget_of(machine, 0.5 * MINUTE)
    budget.start(evaluation_seconds=2.5)
    machine.work(13.0)
    budget.finish_step()
    assert (budget.steps, budget.steps_left, budget.progress) == (1, 0, 1.0)
    assert not budget.is_exceeded


def test_a_budget_below_one_step() -> None:
    machine = Machine()
    budget = budget_of(machine, 10.0)
    machine.work(3.0)
    budget.start(evaluation_seconds=2.0)
    machine.work(4.0)
    budget.finish_step()
    assert budget.is_finished
    assert budget.is_exceeded
    assert (budget.start_seconds, budget.step_seconds) == (3.0, 4.0)
    assert budget.end_seconds == 2.0 + 0.5 + 2.0


@pytest.mark.parametrize("pause", [0.0, 1000.0])
def test_a_resumed_run_goes_on_with_the_time_that_is_left(pause: float) -> None:
    machine = Machine()
    budget = budget_of(machine)
    before = train(budget, machine, until=lambda: machine.now > 50)
    state, stopped = budget.state_dict(), machine.now
    machine.now += pause  # does not count
    resumed = budget_of(machine)
    resumed.load_state_dict(state)
    assert resumed.elapsed == pytest.approx(stopped)
    assert resumed.progress == budget.progress
    assert resumed.predicted_steps == pytest.approx(budget.predicted_steps, abs=20)
    after = train(resumed, machine)
    assert machine.now - pause == pytest.approx(2 * MINUTE, rel=0.05)
    assert after.rates[0] == pytest.approx(before.rates[-1], abs=0.01)
    assert resumed.steps == len(before.rates) + len(after.rates)
    assert after.progress[-1] == pytest.approx(1, abs=0.01)


def test_a_resumed_run_with_another_budget_keeps_its_progress() -> None:
    machine = Machine()
    budget = budget_of(machine)
    train(budget, machine, until=lambda: machine.now > 50)
    resumed = budget_of(machine, 4 * MINUTE)
    resumed.load_state_dict(budget.state_dict())
    assert resumed.progress == budget.progress
    assert resumed.seconds_left == 4 * MINUTE - budget.elapsed
    train(resumed, machine)
    assert machine.now == pytest.approx(4 * MINUTE, rel=0.05)


def test_a_finished_run_stays_finished_unless_its_budget_is_raised() -> None:
    machine = Machine()
    budget = budget_of(machine)
    train(budget, machine)
    same, more = budget_of(machine), budget_of(machine, 4 * MINUTE)
    same.load_state_dict(budget.state_dict())
    assert same.is_finished
    more.load_state_dict(budget.state_dict())
    assert not more.is_finished
    assert more.progress == 0.5
    train(more, machine)
    assert machine.now == pytest.approx(4 * MINUTE, rel=0.05)


def test_a_run_without_times_in_its_checkpoint() -> None:
    machine = Machine()
    budget = budget_of(machine, evaluation_period=100)
    budget.skip_to(250)
    assert (budget.steps, budget.predicted_steps, budget.progress) == (250, 1000, 0.25)
    assert not budget.is_evaluation_due
    run = train(budget, machine)
    assert run.progress[0] == 0.25
    assert len(run.evaluations) == 7


def test_a_finished_run_without_times_in_its_checkpoint() -> None:
    budget = budget_of(Machine())
    budget.skip_to(1000)
    assert budget.is_finished
    assert (budget.predicted_steps, budget.progress) == (1000, 1.0)


def test_other_processes_follow() -> None:
    machine = Machine()
    budget, other = budget_of(machine), budget_of(machine)
    train(budget, machine, until=lambda: budget.steps == 10)
    other.follow(budget.decision())
    assert other.decision() == budget.decision()
    assert other.predicted_steps == budget.predicted_steps


def test_time_left_as_text() -> None:
    machine = Machine()
    budget = budget_of(machine, 12 * MINUTE)
    assert str(budget) == "12 min left, about 1000 steps in all"
    machine.work(13 * MINUTE)
    assert budget.seconds_left == 0
    assert [format_time(t) for t in (0.4, 89, 90, 600, 9000)] == [
        "0 s",
        "89 s",
        "2 min",
        "10 min",
        "2.5 h",
    ]


@pytest.mark.parametrize(
    ("times", "mean"),
    [
        ([], 0.0),
        ([5.0], 5.0),
        ([5.0, 1.0], 1.0),  # the first step does not count
        ([5.0, 1.0, 2.0], 1.5),
        ([5.0, 1.0, 1.0, 100.0], (1 + 1 + 3) / 3),  # an outlier counts three times the median
        ([1.0] * 60 + [2.0] * 20, 2.0),  # the last 40 s
        ([1.0] * 60 + [20.0] * 5, 20.0),  # but at least five steps
    ],
)
def test_mean_of_step_times(times: list[float], mean: float) -> None:
    steps = StepTimes(horizon=40.0)
    for seconds in times:
        steps.add(seconds, cpu_seconds=1.0)
    assert steps.mean == pytest.approx(mean)


@pytest.mark.parametrize(
    ("cpu_seconds", "slowness"),
    [(2.0, 1.0), (3.0, 1.0), (1.0, 2.0), (0.1, 6.0), (0.0, 6.0)],
)
def test_slowness(cpu_seconds: float, slowness: float) -> None:
    """Steps of 2 s; with several threads, one thread may count more than the time."""
    steps = StepTimes(horizon=40.0)
    for _ in range(10):
        steps.add(2.0, cpu_seconds=cpu_seconds)
    assert steps.slowness == pytest.approx(slowness)
    again = StepTimes(horizon=40.0)
    again.restore(steps.values())
    assert (again.mean, again.slowness) == (steps.mean, steps.slowness)


def test_the_end_is_expected_to_take_longer_on_a_busy_machine() -> None:
    machine = Machine(lambda t: 3.0)
    budget = budget_of(machine)
    train(budget, machine, until=lambda: budget.steps == 10)
    assert budget.end_seconds == pytest.approx(2.0 + 0.5 + 3 * 2.0)
