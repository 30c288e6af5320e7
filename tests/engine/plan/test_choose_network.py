"""The choice between ImageNet weights and a start from scratch."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Any

import pytest

from retina_plugin.engine.plan.choose_network import (
    MANY_IMAGES,
    Choice,
    choose_network,
    decide_by_trial,
    trial_size,
)
from retina_plugin.engine.plan.machine import Machine
from retina_plugin.engine.plan.network import (
    NOT_INSTALLED,
    PACKAGE,
    WEIGHTS,
    Decision,
    fixed_decision,
)
from retina_plugin.engine.plan.rules import Datasets
from retina_plugin.engine.plan.task import Task
from retina_plugin.engine.plan.time_plan import Costs
from retina_plugin.engine.plan.trial import Outcome, Trial, TrialSize
from retina_plugin.modeling.structures import ImageLosses
from tests.engine.plan.profiles import profile

CPU = Machine(cores=2, memory=8 * 2**30, gpu="")
NAMES = Datasets(train=("train.json@images",), validation=("val.json@images",))


def task(
    *,
    minutes: float = 20.0,
    num_images: int = 100,
    steps: int = 0,
    fixed: Decision | None = None,
) -> Task:
    images = profile(num_images=num_images), profile(num_images=20)
    return Task(NAMES, *images, CPU, minutes, steps, fixed)


def trial(weights: list[float], scratch: list[float]) -> Trial:
    """A trial with these losses of images with one positive each."""
    one, other = (
        Outcome(30, tuple(ImageLosses({"loss_cls": loss}, 1) for loss in losses))
        for losses in (weights, scratch)
    )
    return Trial(one, other, seconds=115.0)


def no_trial(*_: Any) -> Trial:
    raise AssertionError("there is no trial")


@pytest.mark.parametrize(
    ("changes", "costs", "expected"),
    [
        # 20 minutes: 60 s for each network, 48 of them for training, 12 for the losses
        ({}, Costs(0.5, 2.0), TrialSize(48.0, 96, 20)),
        ({"num_images": 1000}, Costs(0.5, 2.0), TrialSize(48.0, 96, 50)),
        ({"num_images": 1000}, Costs(0.5, 20.0), TrialSize(48.0, 96, 12)),  # 1 s for an image
        ({"num_images": 24}, Costs(0.5, 2.0), "losses could be measured on 4 images only"),
        ({}, Costs(0.5, 80.0), "losses could be measured on 3 images only"),
        ({}, Costs(1.1, 2.0), TrialSize(48.0, 43, 20)),  # 1062 steps
        ({}, Costs(1.3, 2.0), "a short trial favours ImageNet weights"),  # 897 steps
        ({"minutes": 0.0}, Costs(0.5, 2.0), "after a long run"),
        ({"minutes": 0.0, "steps": 500}, Costs(0.5, 2.0), "the number of steps is given"),
    ],
)
def test_the_size_of_a_trial(
    changes: dict[str, Any], costs: Costs, expected: TrialSize | str
) -> None:
    found = trial_size(task(**changes), costs, 8)
    if isinstance(expected, TrialSize):
        assert found == expected
    else:
        assert isinstance(found, str)
        assert expected in found


LOW, HIGH = [1.0, 1.1, 0.9, 1.0], [1.5, 1.6, 1.4, 1.6]
# Of the differences 0.1, -0.2, 0.3, 0, the mean is 0.05 and its standard error 0.10
LEVEL = [0.9, 1.3, 0.6, 1.0]
BROKEN = [1.0, math.nan, 1.0, 1.0]


@pytest.mark.parametrize(
    ("weights", "scratch", "step", "use_weights", "words"),
    [
        (LOW, HIGH, 1.0, True, "the loss was 1.000 with ImageNet weights (30 steps) and 1.525"),
        (HIGH, LOW, 0.5, False, "the loss was 1.525 with ImageNet weights (30 steps) and 1.000"),
        (LOW, LEVEL, 0.5, True, "is 0.104, so it is not clear; there are only 100 images"),
        (LEVEL, LOW, 0.5, True, "so it is not clear"),
        (BROKEN, LOW, 0.5, True, "so it is not clear"),
    ],
)
def test_the_lower_loss_of_a_trial(
    weights: list[float], scratch: list[float], step: float, use_weights: bool, words: str
) -> None:
    costs = Costs(step, 2.0)
    chosen = choose_network(task(), lambda _: costs, lambda *_: trial(weights, scratch), batch=8)
    values = {entry.key: entry for entry in chosen.network}
    assert values["MODEL.WEIGHTS"].value == (WEIGHTS if use_weights else "")
    assert words in values["MODEL.WEIGHTS"].reason
    assert chosen.costs == Costs(step, 2.0, 115.0)


@pytest.mark.parametrize(
    ("box_losses", "use_weights"), [((0.2, 0.2), False), ((0.3, 0.2), False), ((0.2, 0.3), True)]
)
def test_a_network_with_worse_boxes_is_not_chosen(
    box_losses: tuple[float, float], use_weights: bool
) -> None:
    """Both box losses, with weights first; the sum of all losses is clearly lower from scratch."""
    sums = (1.0, 0.5)
    outcomes = (
        Outcome(30, (ImageLosses({"loss_cls": s - box, "loss_box_reg": box}, 1),) * 5)
        for s, box in zip(sums, box_losses, strict=True)
    )
    size, otherwise = TrialSize(48.0, 96, 5), Decision(True, "few images")
    found = decide_by_trial(Trial(*outcomes, seconds=1.0), size, otherwise=otherwise)
    assert found.use_weights == use_weights
    assert ("so it is not clear; few images" in found.reason) == use_weights


@pytest.mark.parametrize(
    ("changes", "step", "use_weights", "words"),
    [
        ({"minutes": 0.0}, 0.5, True, "only 100 images; no trial of both, because a short trial"),
        (
            {"minutes": 0.0, "steps": 1000},
            0.5,
            True,
            "1000 steps of 8 images with ImageNet weights are at least 8000 images; no",
        ),
        (
            {"minutes": 0.0, "steps": 999},
            0.5,
            False,
            "999 steps of 8 images with ImageNet weights are fewer",
        ),
        ({"minutes": 5.0}, 0.5, False, "no trial of both, because a short trial favours"),
        ({"minutes": 10.0, "num_images": 24}, 0.5, True, "no trial of both, because its losses"),
        ({"num_images": MANY_IMAGES}, 0.5, False, "10000 images are enough without"),
        ({"fixed": NOT_INSTALLED}, 0.5, False, "no ImageNet weights are inst"),
        ({"fixed": Decision(True, "is given")}, 5.0, True, "ImageNet weights: is given"),
    ],
)
def test_the_choice_without_a_trial(
    changes: dict[str, Any], step: float, use_weights: bool, words: str
) -> None:
    chosen: Choice = choose_network(task(**changes), lambda _: Costs(step, 2.0), no_trial, batch=8)
    values = {entry.key: entry for entry in chosen.network}
    assert values["MODEL.WEIGHTS"].value == (WEIGHTS if use_weights else "")
    assert words in values["MODEL.WEIGHTS"].reason
    assert chosen.costs.trial == 0


@pytest.mark.parametrize(
    ("given", "use_weights", "key"),
    [
        ({"MODEL.WEIGHTS": ""}, False, "MODEL.WEIGHTS"),
        ({"MODEL.WEIGHTS": "my.pth"}, False, "MODEL.WEIGHTS"),
        ({"MODEL.WEIGHTS": WEIGHTS, "SEED": 2}, True, "MODEL.WEIGHTS"),
        ({"MODEL.WEIGHTS": WEIGHTS, "MODEL.RESNETS.DEPTH": 50}, False, "MODEL.RESNETS.DEPTH"),
    ],
)
def test_the_user_chooses_the_network(given: dict[str, Any], use_weights: bool, key: str) -> None:
    assert fixed_decision(given) == (use_weights, f"{key} is given on the command line")


def test_the_plan_decides_if_weights_are_installed() -> None:
    installed = find_spec(PACKAGE) is not None and find_spec("timm") is not None
    assert fixed_decision({"SEED": 1}) == (None if installed else NOT_INSTALLED)
