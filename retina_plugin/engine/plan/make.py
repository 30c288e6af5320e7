"""Make a plan from the profiles of the data and the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from retina_plugin.engine.plan.anchors import choose_anchors, recall
from retina_plugin.engine.plan.choose_network import Choice, Network, choose_network
from retina_plugin.engine.plan.class_table import class_table, default_anchors
from retina_plugin.engine.plan.input_size import InputSize, choose_input_size, choose_strides
from retina_plugin.engine.plan.plan import Entry, Plan
from retina_plugin.engine.plan.rules import (
    batch_size,
    dataset_entries,
    detection_entries,
    input_entries,
    pyramid_entries,
    solver_entries,
)
from retina_plugin.engine.plan.task import Task
from retina_plugin.engine.plan.time_plan import (
    LEAST_STEPS,
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
        ValueError: not even one step fits into the time.
    """
    size = choose_input_size(task.training, gpu=bool(task.machine.gpu))
    batch = batch_size(size, task.training, task.machine)
    pixels: float = batch.value * size.train_pixels

    def plan_of(network: Network) -> Plan:
        return _without_time(task, network, size, batch)

    def costs_of(network: Network) -> Costs:
        step = seconds_per_step(plan_of(network), *_shape(size))
        return _costs(task, size, batch.value, step / pixels)

    choice = choose_network(
        task, costs_of, lambda a, b, trial_size: try_both(plan_of(a), plan_of(b), trial_size)
    )
    if task.minutes:
        return _fit_time(task, choice, batch, choice.costs.step / pixels)
    plan = plan_of(choice.network)
    if task.steps:
        return plan.with_entries(fixed_entries(task.steps))
    images = task.training.num_images
    return plan.with_entries(open_entries(num_images=images, batch=batch.value))


def _shape(size: InputSize) -> tuple[int, int]:
    """Return height and width of an average training image."""
    middle = sum(size.train_range) // 2
    return middle, round(size.train_pixels / middle)


def _fit_time(task: Task, choice: Choice, batch: Entry, per_pixel: float) -> Plan:
    """Use smaller batches, then smaller images, until enough steps fit into the time."""
    for size, images in _options(task, batch):
        costs = _costs(task, size, images.value, per_pixel, trial=choice.costs.trial)
        steps = number_of_steps(task.minutes, costs)
        if steps >= LEAST_STEPS:
            break
    if not steps:
        raise ValueError(
            f"--minutes {task.minutes:g}: a training step takes about {costs.step:.1f} s and an "
            f"evaluation {costs.evaluation:.0f} s, so not one step fits. Give at least "
            f"{(costs.step * LEAST_STEPS + costs.evaluation) / 60:.0f} minutes"
        )
    plan = _without_time(task, choice.network, size, images)
    plan = plan.with_entries(timed_entries(task.minutes, costs))
    if steps < LEAST_STEPS:
        minutes = task.minutes * LEAST_STEPS / steps
        warning = (
            f"Only {steps} steps fit into {task.minutes:g} minutes; a detector needs about "
            f"{LEAST_STEPS} to learn anything: {minutes:.0f} minutes here."
        )
        plan = Plan(plan.entries, (warning, *plan.head))
    return plan


def _options(task: Task, batch: Entry) -> Iterator[tuple[InputSize, Entry]]:
    batches = [batch]
    if batch.value >= 4:
        reason = "half as many as usual, so that more steps fit into the time"
        batches.append(Entry(batch.key, batch.value // 2, reason, printed=True))
    for shrink in SHRINKS:
        size = choose_input_size(task.training, gpu=bool(task.machine.gpu), shrink=shrink)
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
    profile = task.training
    strides = choose_strides(profile, size)
    boxes = profile.boxes_at(size.object_side)
    anchors = choose_anchors(boxes, profile.labels, strides=strides)
    before, after = (recall(boxes, profile.labels, a) for a in (default_anchors(), anchors))
    reached = float(np.nanmean(before)), float(np.nanmean(after))
    entries = [
        *dataset_entries(task.datasets, profile),
        *network,
        *pyramid_entries(strides, anchors, reached=reached),
        *input_entries(size, profile),
        batch,
        *solver_entries(batch.value),
        *detection_entries(profile),
    ]
    return Plan(tuple(entries), tuple(class_table(profile, size, before, after)))
