"""Make a plan from the profiles of the data and the machine."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator

from retina_plugin.engine.plan.background import background_entries, trains_background
from retina_plugin.engine.plan.batch import batch_size, half_batch
from retina_plugin.engine.plan.choose_network import Choice, Network, choose_network
from retina_plugin.engine.plan.given import with_given
from retina_plugin.engine.plan.input_size import InputSize, choose_input_size
from retina_plugin.engine.plan.losses import loss_entries
from retina_plugin.engine.plan.plan import Entry, Plan
from retina_plugin.engine.plan.pyramid import (
    PyramidChoice,
    choose_pyramid,
    default_anchors,
    pyramid_entries,
)
from retina_plugin.engine.plan.reached_boxes import ReachedBoxes, measure_reached, reached_boxes
from retina_plugin.engine.plan.rules import (
    dataset_entries,
    detection_entries,
    input_entries,
    solver_entries,
)
from retina_plugin.engine.plan.task import Task
from retina_plugin.engine.plan.time_plan import (
    LEAST_STEPS,
    PERIOD,
    Costs,
    evaluation_seconds,
    fixed_entries,
    number_of_steps,
    open_entries,
    timed_entries,
)
from retina_plugin.engine.plan.trial import Trial, TrialSize

SHRINKS = (1.0, 0.85, 0.7, 0.6)


def make_plan(
    task: Task,
    seconds_per_step: Callable[[Plan, int, int], float],
    try_both: Callable[[Plan, Plan, TrialSize], Trial],
) -> Plan:
    """Plan a run.

    Args:
        task: see :class:`retina_plugin.engine.plan.task.Task`.
        seconds_per_step: measures a training step of a plan, given height and width of the images;
            see :func:`retina_plugin.engine.plan.machine.seconds_per_step`.
        try_both: trains two plans for a short time, the one with ImageNet weights first; see
            :func:`retina_plugin.engine.plan.trial.try_both`.

    Raises:
        ValueError: not even one step fits into the time, or given values do not go together.
    """
    background = background_entries(task.training, task.given)
    if not trains_background(task.training, task.given):
        task = dataclasses.replace(task, training=task.training.without_background())
    plan = _plan_trained(task, seconds_per_step, try_both).with_entries(background)
    return with_given(plan, task.given)


def _plan_trained(
    task: Task,
    seconds_per_step: Callable[[Plan, int, int], float],
    try_both: Callable[[Plan, Plan, TrialSize], Trial],
) -> Plan:
    """Plan a run for images that are all trained. Arguments are as in :func:`make_plan`."""
    size = _size(task)
    batch = batch_size(size, task.training, task.machine, task.given)
    pixels: float = batch.value * size.train_pixels

    def plan_of(network: Network) -> Plan:
        return _without_time(task, network, size, batch)

    def costs_of(network: Network) -> Costs:
        step = seconds_per_step(plan_of(network), *_shape(size))
        return _costs(task, size, batch.value, step / pixels)

    choice = choose_network(
        task,
        costs_of,
        lambda a, b, trial_size: try_both(plan_of(a), plan_of(b), trial_size),
        batch=batch.value,
    )
    if task.minutes:
        return _fit_time(task, choice, batch, choice.costs.step / pixels)
    plan = plan_of(choice.network)
    if task.steps:
        return plan.with_entries(fixed_entries(task.steps, task.given))
    images = task.training.num_images
    return plan.with_entries(open_entries(num_images=images, batch=batch.value, given=task.given))


def _size(task: Task, shrink: float = 1.0) -> InputSize:
    gpu = bool(task.machine.gpu)
    return choose_input_size(task.training, gpu=gpu, shrink=shrink, given=task.given)


def _shape(size: InputSize) -> tuple[int, int]:
    """Return height and width of an average training image."""
    middle = sum(size.train_range) // 2
    return middle, round(size.train_pixels / middle)


def _fit_time(task: Task, choice: Choice, batch: Entry, per_pixel: float) -> Plan:
    """Use smaller batches, then smaller images, until enough steps fit into the time."""
    for size, images in _options(task, batch):
        costs = _costs(task, size, images.value, per_pixel, trial=choice.costs.trial)
        steps = number_of_steps(task.minutes, costs, task.given.get(PERIOD))
        if steps >= LEAST_STEPS:
            break
    if not steps:
        raise ValueError(
            f"--minutes {task.minutes:g}: a training step takes about {costs.step:.1f} s and an "
            f"evaluation {costs.evaluation:.0f} s, so not one step fits. Give at least "
            f"{(costs.step * LEAST_STEPS + costs.evaluation) / 60:.0f} minutes"
        )
    plan = _without_time(task, choice.network, size, images)
    plan = plan.with_entries(timed_entries(task.minutes, costs, task.given))
    if steps < LEAST_STEPS:
        minutes = task.minutes * LEAST_STEPS / steps
        warning = (
            f"Only {steps} steps fit into {task.minutes:g} minutes; a detector needs about "
            f"{LEAST_STEPS} to learn anything: {minutes:.0f} minutes here."
        )
        plan = Plan(plan.entries, (warning, *plan.head))
    return plan


def _options(task: Task, batch: Entry) -> Iterator[tuple[InputSize, Entry]]:
    half = half_batch(batch, task.given)
    batches = [batch] if half is None else [batch, half]
    sizes = [_size(task, shrink) for shrink in SHRINKS]
    for size in dict.fromkeys(sizes):  # a given size does not change
        for images in batches:
            yield size, images


def _costs(
    task: Task, size: InputSize, batch: int, per_pixel: float, *, trial: float = 0.0
) -> Costs:
    step = per_pixel * batch * size.train_pixels
    evaluation = evaluation_seconds(
        step=step,
        batch=batch,
        images=task.validation.num_images,
        train_pixels=size.train_pixels,
        test_pixels=size.test_pixels,
    )
    return Costs(step, evaluation, trial)


def _without_time(task: Task, network: list[Entry], size: InputSize, batch: Entry) -> Plan:
    profile, given = task.training, task.given
    choice, reached = _pyramid(task, size), _reached(task, size)
    entries = [
        *dataset_entries(task.datasets, profile),
        *network,
        *pyramid_entries(choice, given=given, reached=reached.summary),
        *input_entries(size, profile, given),
        batch,
        reached.assigner,
        *loss_entries(given),
        *solver_entries(batch.value, task.machine, given),
        *detection_entries(profile, given),
    ]
    return Plan(tuple(entries), tuple(reached_boxes(profile, size, reached)))


@functools.lru_cache(maxsize=4)  # a plan is made for each network, with the same size
def _pyramid(task: Task, size: InputSize) -> PyramidChoice:
    return choose_pyramid(task.training, size, task.given)


@functools.lru_cache(maxsize=4)
def _reached(task: Task, size: InputSize) -> ReachedBoxes:
    planned = _pyramid(task, size).anchors
    default = default_anchors()
    return measure_reached(task.training, size, default=default, planned=planned, given=task.given)
