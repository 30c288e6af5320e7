"""Choose between ImageNet weights and a start from scratch; docs/planning.md explains the rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from retina_plugin.engine.plan.network import Decision, pretrained_network, scratch_network
from retina_plugin.engine.plan.plan import Entry
from retina_plugin.engine.plan.task import Task
from retina_plugin.engine.plan.time_plan import PERIOD, Costs, number_of_steps
from retina_plugin.engine.plan.trial import Trial, TrialSize

# If fewer images (steps times batch) fit into the time, a network is trained from scratch. Its
# steps are shorter, and on images of blood cells it was then better, although a short trial
# favoured the weights.
PRETRAINED_IMAGES = 8000
# for such large data sets, pretrained weights help little (He et al., arXiv 1811.08883, section 5)
MANY_IMAGES = 10_000
TRIAL_SHARE = 0.1  # share of the time for the trial of both networks
TRAINING_SHARE = 0.8  # share of the trial for training; the losses are measured in the rest
HELD_OUT = 0.2  # largest share of the images with boxes on which the losses are measured
LEAST_HELD_OUT, MOST_HELD_OUT = 5, 50
NOISE = 2.0  # a difference of losses is clear above this number of standard errors

Network = list[Entry]


class Choice(NamedTuple):
    """The chosen network and its costs, with the time of the trial."""

    network: Network
    costs: Costs


def choose_network(
    task: Task,
    costs_of: Callable[[Network], Costs],
    try_both: Callable[[Network, Network, TrialSize], Trial],
    *,
    batch: int,
) -> Choice:
    """Choose the network and its initial weights.

    Args:
        task: the data, machine and limits.
        costs_of: measures the costs of a network.
        try_both: trains two networks, the one with ImageNet weights first; see
            :func:`retina_plugin.engine.plan.trial.try_both`.
        batch: images of a step.
    """
    fixed = task.fixed or _enough_images(task)
    if fixed is not None:
        network = _network(task, fixed)
        return Choice(network, costs_of(network))
    weights = pretrained_network(task.machine, "", task.given)
    costs, seconds = costs_of(weights), 0.0
    decision = decide_by_steps(task, costs, batch)
    size = trial_size(task, costs, batch)
    if isinstance(size, str):
        decision = decision._replace(reason=f"{decision.reason}; no trial of both, because {size}")
    else:
        trial = try_both(weights, scratch_network(task.machine, "", task.given), size)
        decision, seconds = decide_by_trial(trial, size, otherwise=decision), trial.seconds
    network = _network(task, decision)
    costs = costs if decision.use_weights else costs_of(network)
    return Choice(network, dataclasses.replace(costs, trial=seconds))


def _network(task: Task, decision: Decision) -> Network:
    build = pretrained_network if decision.use_weights else scratch_network
    return build(task.machine, decision.reason, task.given)


def _enough_images(task: Task) -> Decision | None:
    images = task.training.num_images
    if images < MANY_IMAGES:
        return None
    return Decision(False, f"{images} images are enough without ImageNet weights")


def decide_by_steps(task: Task, costs: Costs, batch: int) -> Decision:
    """Decide by the number of images and steps.

    Args:
        task: a task with fewer than :data:`MANY_IMAGES` images.
        costs: the costs of the network with ImageNet weights.
        batch: images of a step.
    """
    few = f"there are only {task.training.num_images} images"
    if not (task.minutes or task.steps):
        return Decision(True, few)
    steps = task.steps or number_of_steps(task.minutes, costs, task.given.get(PERIOD))
    found = f"{steps} steps of {batch} images with ImageNet weights"
    if steps * batch >= PRETRAINED_IMAGES:
        return Decision(True, f"{few}, and {found} are at least {PRETRAINED_IMAGES} images")
    return Decision(
        False,
        f"{found} are fewer than {PRETRAINED_IMAGES} images, and steps from scratch are faster",
    )


def trial_size(task: Task, costs: Costs, batch: int) -> TrialSize | str:
    """Return the size of a trial of both networks, or why there is none.

    Args:
        task: the data, machine and limits.
        costs: the costs of the network with ImageNet weights.
        batch: images of a step.
    """
    if task.steps:
        return "it compares equal times, and the number of steps is given"
    if not task.minutes:
        return "a short trial does not tell which network is better after a long run"
    if number_of_steps(task.minutes, costs, task.given.get(PERIOD)) * batch < PRETRAINED_IMAGES:
        return "a short trial favours ImageNet weights"
    seconds = task.minutes * 60 * TRIAL_SHARE / 2  # for each network
    training = TRAINING_SHARE * seconds
    per_image = max(costs.evaluation / task.validation.num_images, 1e-9)
    affordable = int((seconds - training) / per_image)
    with_boxes = len(np.unique(task.training.box_images))
    images = min(int(HELD_OUT * with_boxes), MOST_HELD_OUT, affordable)
    if images < LEAST_HELD_OUT:
        return (
            f"its losses could be measured on {images} images only, and a trial needs "
            f"{LEAST_HELD_OUT}"
        )
    return TrialSize(training, int(training / costs.step), images)


def decide_by_trial(trial: Trial, size: TrialSize, *, otherwise: Decision) -> Decision:
    """Choose the network with the lower loss.

    The class targets of quality focal loss are the IoUs of the predicted boxes, so worse boxes
    lower the class loss. A network with a higher box loss is therefore not chosen.

    Args:
        trial: the outcome of a trial.
        size: its size.
        otherwise: the decision if the difference of the losses is not clear.
    """
    weights, scratch = trial.weights, trial.scratch
    measured = (
        f"in a trial of {size.seconds:.0f} s for each network the loss was {weights.loss:.3f} with "
        f"ImageNet weights ({weights.steps} steps) and {scratch.loss:.3f} from scratch "
        f"({scratch.steps} steps), the box loss {weights.box_loss:.3f} and {scratch.box_loss:.3f}, "
        f"on {size.images} training images that were held out; the standard error of the "
        f"difference is {trial.noise:.3f}"
    )
    use_weights = weights.loss < scratch.loss
    best, other = (weights, scratch) if use_weights else (scratch, weights)
    if other.loss - best.loss > NOISE * trial.noise and best.box_loss <= other.box_loss:
        return Decision(use_weights, measured)
    return otherwise._replace(reason=f"{measured}, so it is not clear; {otherwise.reason}")
