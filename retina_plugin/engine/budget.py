"""Keep a run within its time budget: predict the number of steps from the times measured so far.

This module uses neither a host nor torch. The caller reports steps, evaluations and checkpoints.
"""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from retina_plugin.engine.step_times import StepTimes

COUNTDOWN = 0.01  # share of the budget: if the steps left need less time, they are counted down
HORIZON = 0.1  # share of the budget whose last steps predict the next ones
OVERSHOOT = 0.02  # share of the budget by which the last step may exceed it
MOST_EVALUATION = 0.75  # share of the time left that evaluations may take
CHECKPOINT_SECONDS = 0.5  # estimate for the last checkpoint, if none was written before


class Budget:
    """Decides when a run with a time budget ends, and computes its progress.

    Time is reserved for the end of the run, which is everything after the last step. Time for
    earlier evaluations is reserved too, up to three quarters of the time left.

    Attributes:
        seconds: the budget.
        steps: the number of completed steps.
        steps_left: the predicted number of steps after these; 0 after the last step.
        progress: from 0 to 1, for the learning rate schedule. At constant speed it grows by
            ``1 / predicted_steps`` a step, so it is 1 after the last step. It never falls.
        evaluations: the number of evaluations that were made or left out.
    """

    def __init__(
        self,
        seconds: float,
        *,
        steps: int,
        evaluation_period: int,
        final_evaluations: float,
        closing_seconds: float,
        started: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        """
        Args:
            seconds: the budget, from ``started`` to the end of the process.
            steps: the first guess of the number of steps.
            evaluation_period: there is an evaluation each time that the progress has grown by
                ``evaluation_period / steps``; 0: only at the end.
            final_evaluations: time of the evaluations after the last step, as a multiple of the
                time of an evaluation during training.
            closing_seconds: estimate for the end without its evaluations and its checkpoint, on a
                machine without other work.
            started: when the command started; None: now.
            clock: returns the time in seconds.
            cpu_clock: returns the processor time of this thread in seconds.
        """
        self.seconds, self.steps, self.steps_left = seconds, 0, steps
        self.progress, self.evaluations = 0.0, 0
        self.start_seconds = 0.0  # from the start of the command to the first step
        self._first_guess, self._spacing = steps, evaluation_period / steps
        self._final_evaluations, self._closing_seconds = final_evaluations, closing_seconds
        self._evaluation_seconds = 0.0  # an estimate, until one was measured
        self._clock, self._cpu_clock = clock, cpu_clock
        self._started = clock() if started is None else started
        self._elapsed_before = 0.0  # seconds of the earlier parts of a resumed run
        self._step_times = StepTimes(horizon=HORIZON * seconds)
        self._evaluation_steps: list[float] = []  # times of evaluations, in steps
        self._has_measured_evaluation = False
        self._checkpoint_times: list[float] = []
        self._step_started, self._cpu_started = 0.0, 0.0
        # since then, times that belong to no step
        self._interruption, self._cpu_interruption = 0.0, 0.0
        self._is_measuring = False

    @property
    def elapsed(self) -> float:
        """Seconds since the start of the command, plus the earlier parts of a resumed run."""
        return self._elapsed_before + self._clock() - self._started

    @property
    def seconds_left(self) -> float:
        """Seconds until the end of the budget; never negative."""
        return max(self.seconds - self.elapsed, 0.0)

    @property
    def predicted_steps(self) -> int:
        """The predicted number of steps of the whole run."""
        return self.steps + self.steps_left

    @property
    def is_finished(self) -> bool:
        """Whether the last step is done."""
        return self.steps_left == 0

    @property
    def is_exceeded(self) -> bool:
        """Whether the budget has no time left for what comes after the last step."""
        return self._free_seconds() < -OVERSHOOT * self.seconds

    @property
    def step_seconds(self) -> float:
        """The mean time of the last steps; 0 before the first one."""
        return self._step_times.mean

    @property
    def end_seconds(self) -> float:
        """The predicted time from the last step to the end of the process."""
        checkpoint = (
            statistics.fmean(self._checkpoint_times)
            if self._checkpoint_times
            else CHECKPOINT_SECONDS
        )
        closing = self._closing_seconds * self._step_times.slowness
        return self._final_evaluations * self._evaluation() + checkpoint + closing

    @property
    def is_evaluation_due(self) -> bool:
        """Whether to evaluate after the last completed step; False after the last step of the run,
        which is evaluated anyway."""
        return not self.is_finished and self._evaluations_passed() > self.evaluations

    def skip_to(self, steps: int) -> None:
        """Continue a run after ``steps`` steps whose times are not known.

        No step is left if these are all steps of the first guess.
        """
        self.steps, self.steps_left = steps, max(self._first_guess - steps, 0)
        self.progress = steps / self.predicted_steps
        self.evaluations = self._evaluations_passed()

    def start(self, *, evaluation_seconds: float) -> None:
        """Start the time of the first step.

        Args:
            evaluation_seconds: estimate for an evaluation, used until one was measured.
        """
        self._evaluation_seconds = evaluation_seconds
        self._start_step()
        self.start_seconds = self._step_started - self._started

    def _start_step(self) -> None:
        self._step_started, self._cpu_started = self._clock(), self._cpu_clock()
        self._interruption, self._cpu_interruption = 0.0, 0.0

    def finish_step(self) -> None:
        """Record the time since the last step, and predict how many steps are left."""
        seconds = self._clock() - self._step_started - self._interruption
        cpu_seconds = self._cpu_clock() - self._cpu_started - self._cpu_interruption
        self._step_times.add(seconds, cpu_seconds=cpu_seconds)
        self._start_step()
        self.steps += 1
        if self._step_times.is_settled and not self._evaluation_steps:
            self._evaluation_steps = [self._evaluation_seconds / self.step_seconds]
        if self._is_counting_down():
            self.steps_left = 0 if self.is_exceeded else self.steps_left - 1
        else:
            self.steps_left = self._predict()
        self._advance()
        if self.is_evaluation_due and self._evaluation() > MOST_EVALUATION * self._free_seconds():
            self.evaluations = self._evaluations_passed()  # too little time: skip it

    @contextlib.contextmanager
    def measure_evaluation(self) -> Iterator[None]:
        """Record the time of the block as the time of an evaluation during training."""
        with self._measure() as times:
            yield
        self.evaluations = self._evaluations_passed()
        if times and self.step_seconds:
            if not self._has_measured_evaluation:
                self._evaluation_steps, self._has_measured_evaluation = [], True
            self._evaluation_steps = [*self._evaluation_steps[-2:], times[0] / self.step_seconds]

    @contextlib.contextmanager
    def measure_checkpoint(self) -> Iterator[None]:
        """Record the time of the block as the time of a checkpoint. Inside
        :meth:`measure_evaluation`, it counts as time of the evaluation."""
        with self._measure() as times:
            yield
        self._checkpoint_times += times

    @contextlib.contextmanager
    def _measure(self) -> Iterator[list[float]]:
        """Measure a block; yield a list to which its seconds are added at its end.

        Inside another measured block the list stays empty.
        """
        times: list[float] = []
        if self._is_measuring:
            yield times
            return
        self._is_measuring, started, cpu_started = True, self._clock(), self._cpu_clock()
        try:
            yield times
        finally:
            self._is_measuring = False
        times.append(self._clock() - started)
        self._interruption += times[0]
        self._cpu_interruption += self._cpu_clock() - cpu_started

    def follow(self, decision: tuple[int, int, float, int]) -> None:
        """Take over the :meth:`decision` of another process."""
        self.steps, self.steps_left, self.progress, self.evaluations = decision

    def decision(self) -> tuple[int, int, float, int]:
        """Return steps, steps left, progress and evaluations, which all processes must share."""
        return self.steps, self.steps_left, self.progress, self.evaluations

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {
            "seconds": self.seconds,
            "elapsed": self.elapsed,
            "decision": list(self.decision()),
            "step_times": self._step_times.values(),
            "evaluation_steps": self._evaluation_steps,
            "has_measured_evaluation": self._has_measured_evaluation,
            "checkpoint_times": self._checkpoint_times,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the run of a checkpoint.

        The progress of the checkpoint is kept, also if the budget has changed. Only the progress of
        a finished run with a larger budget is multiplied by old budget / new budget.
        """
        steps, left, progress, evaluations = state["decision"]
        self._elapsed_before = state["elapsed"]
        self._step_times.restore(state["step_times"])
        self._evaluation_steps = list(state["evaluation_steps"])
        self._has_measured_evaluation = state["has_measured_evaluation"]
        self._checkpoint_times = list(state["checkpoint_times"])
        self.follow((steps, left, progress, evaluations))
        if left == 0 and self.seconds > state["seconds"]:
            self.progress = progress * state["seconds"] / self.seconds
        if left or self.seconds > state["seconds"]:
            self.steps_left = max(self._predict(), 1)
            self.evaluations = min(evaluations, self._evaluations_passed())

    def __str__(self) -> str:
        """Return a text such as "12 min left, about 840 steps in all"."""
        return f"{format_time(self.seconds_left)} left, about {self.predicted_steps} steps in all"

    def _evaluation(self) -> float:
        """Return the predicted time of an evaluation. It changes with the speed of the steps."""
        if not self._evaluation_steps:
            return self._evaluation_seconds
        return statistics.median(self._evaluation_steps) * self.step_seconds

    def _evaluations_passed(self) -> int:
        """Return how many evaluations are planned up to the present progress."""
        if not self._spacing:
            return 0
        return min(math.floor(self.progress / self._spacing + 1e-9), self._planned_evaluations())

    def _planned_evaluations(self) -> int:
        """Return how many evaluations are planned before the last step."""
        return math.ceil(1 / self._spacing - 1e-9) - 1 if self._spacing else 0

    def _free_seconds(self) -> float:
        """Return the seconds left before the end of the run; negative if the end does not fit."""
        return self.seconds - self.elapsed - self.end_seconds

    def _predict(self) -> int:
        """Return the number of steps for which there is time."""
        free, step = self._free_seconds(), self._seconds_a_step()
        evaluations = max(self._planned_evaluations() - self.evaluations, 0)
        free -= min(evaluations * self._evaluation(), MOST_EVALUATION * max(free, 0))
        # round to the nearest number, but without a step that would end long after the budget
        return max(math.floor((free + min(step / 2, OVERSHOOT * self.seconds)) / step), 0)

    def _seconds_a_step(self) -> float:
        return self.step_seconds + sum(self._checkpoint_times) / max(self.steps, 1)

    def _is_counting_down(self) -> bool:
        """Return whether the number of steps left is fixed, so that the progress ends at 1."""
        left = self.steps_left * self._seconds_a_step()
        return self._step_times.is_settled and 0 < left <= COUNTDOWN * self.seconds

    def _advance(self) -> None:
        left = self.steps_left + 1  # includes the step that was just done
        if not self._step_times.is_settled:
            left = max(left, self._first_guess - self.steps + 1)
        self.progress = 1.0 if self.is_finished else self.progress + (1 - self.progress) / left


def format_time(seconds: float) -> str:
    """Return a time as text, for example "45 s", "12 min" or "2.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
