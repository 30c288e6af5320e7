"""Make a plan from the profiles of the data and the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from retina_plugin.engine.plan.anchors import AnchorShapes, Array, choose_anchors, recall
from retina_plugin.engine.plan.input_size import InputSize, choose_input_size, choose_strides
from retina_plugin.engine.plan.machine import Machine
from retina_plugin.engine.plan.plan import Entry, Plan
from retina_plugin.engine.plan.profile import DataProfile
from retina_plugin.engine.plan.rules import (
    Datasets,
    batch_size,
    dataset_entries,
    detection_entries,
    input_entries,
    model_entries,
    pyramid_entries,
    solver_entries,
)
from retina_plugin.engine.plan.time_plan import (
    LEAST_STEPS,
    Costs,
    evaluation_seconds,
    number_of_steps,
    open_entries,
    timed_entries,
)

SHRINKS = (1.0, 0.85, 0.7, 0.6)
MOST_ROWS = 30  # of the table of classes


@dataclass(frozen=True)
class Task:
    """What a run is planned for.

    Attributes:
        datasets: their names.
        training: the profile of the training images.
        validation: the profile of the validation images.
        machine: that trains.
        minutes: that the run may take; 0 for no limit.
    """

    datasets: Datasets
    training: DataProfile
    validation: DataProfile
    machine: Machine
    minutes: float = 0.0


def make_plan(task: Task, seconds_per_step: Callable[[Plan, int, int], float]) -> Plan:
    """Plan a run.

    Args:
        task: see :class:`Task`.
        seconds_per_step: measures a training step of a plan on images of a height and a width, see
            :func:`retina_plugin.engine.plan.machine.seconds_per_step`.

    Raises:
        ValueError: not even one step fits into the time.
    """
    size = choose_input_size(task.training, gpu=bool(task.machine.gpu))
    batch = batch_size(size, task.training, task.machine)
    plan = _without_time(task, size, batch)
    seconds = seconds_per_step(plan, *_shape(size))
    if not task.minutes:
        count = task.training.num_images
        return plan.with_entries(open_entries(num_images=count, batch=batch.value))
    per_pixel = seconds / batch.value / size.train_pixels
    return _fit_time(task, batch, per_pixel)


def _shape(size: InputSize) -> tuple[int, int]:
    """Height and width of an average training image."""
    middle = sum(size.train_range) // 2
    return middle, round(size.train_pixels / middle)


def _fit_time(task: Task, batch: Entry, per_pixel: float) -> Plan:
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
    plan = _without_time(task, size, images).with_entries(timed_entries(task.minutes, costs))
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
        batches.append(Entry(batch.key, batch.value // 2, reason))
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


def _without_time(task: Task, size: InputSize, batch: Entry) -> Plan:
    profile = task.training
    strides = choose_strides(profile, size)
    boxes = profile.boxes_at(size.object_side)
    anchors = choose_anchors(boxes, profile.labels, strides=strides)
    before, after = (recall(boxes, profile.labels, a) for a in (default_anchors(), anchors))
    reached = float(np.nanmean(before)), float(np.nanmean(after))
    entries = [
        *dataset_entries(task.datasets, profile),
        *model_entries(task.machine),
        *pyramid_entries(strides, anchors, reached=reached),
        *input_entries(size, profile),
        batch,
        *solver_entries(batch.value),
        *detection_entries(profile),
    ]
    return Plan(tuple(entries), tuple(_table(profile, size, before, after)))


def default_anchors() -> AnchorShapes:
    """Return the anchors of Detectron2's RetinaNet: 3 sizes and 3 aspect ratios on P3 to P7."""
    strides = tuple(2**k for k in range(3, 8))
    sizes = tuple(tuple(4 * s * 2 ** (k / 3) for k in range(3)) for s in strides)
    return AnchorShapes(strides, sizes, (0.5, 1.0, 2.0))


def _table(profile: DataProfile, size: InputSize, before: Array, after: Array) -> list[str]:
    """Rows of classes: boxes, sizes in pixels of the network's input, share that anchors reach."""
    sizes = profile.sizes_at(size.short_side)
    width = max(map(len, ("class", *profile.class_names)))
    rows = []
    for k, name in enumerate(profile.class_names):
        own = sizes[profile.labels == k]
        if not len(own):
            rows.append(f"{name:<{width}}       0")
            continue
        low, middle, high = np.percentile(own, (10, 50, 90))
        rows.append(
            f"{name:<{width}} {len(own):>7} {low:>5.0f} {middle:>5.0f} {high:>5.0f} "
            f"{before[k]:>8.0%} {after[k]:>6.0%}"
        )
    if len(rows) > MOST_ROWS:
        rows[MOST_ROWS:] = [f"... and {len(rows) - MOST_ROWS} more classes"]
    title = (
        "Boxes of each class, their sizes (root of the area, 10, 50 and 90%) in pixels of the "
        "network's input,"
    )
    second = "and the share that an anchor reaches with IoU 0.5, by default and in this plan:"
    header = f"{'class':<{width}}   boxes   10%   50%   90%  default   plan"
    return [title, second, header, *rows]
