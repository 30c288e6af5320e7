"""Learning rates, parameter groups and clipping, as one reckons them on paper."""

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from retina_plugin.config import CfgNode, get_cfg
from retina_plugin.solver.build import (
    build_optimizer,
    clip_gradients,
    lr_multiplier,
    parameter_groups,
)


def cfg_of(**solver: object) -> CfgNode:
    cfg = get_cfg()
    cfg.merge_from_list(
        [
            part
            for key, value in solver.items()
            for part in (f"SOLVER.{key.replace('__', '.')}", value)
        ]
    )
    return cfg


@pytest.mark.parametrize(
    ("solver", "expected"),
    [
        pytest.param(
            {"STEPS": (4, 8), "WARMUP_ITERS": 2, "WARMUP_FACTOR": 0.5},
            [0.5, 0.75, 1.0, 1.0, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01],
            id="linear warm-up, two steps",
        ),
        pytest.param(
            {"STEPS": (), "WARMUP_ITERS": 3, "WARMUP_FACTOR": 0.2, "WARMUP_METHOD": "constant"},
            [0.2] * 3 + [1.0] * 7,
            id="constant warm-up",
        ),
        pytest.param(
            {"STEPS": (5, 99), "WARMUP_ITERS": 0, "GAMMA": 0.5},
            [1.0] * 5 + [0.5] * 5,
            id="a step never reached",
        ),
        pytest.param(
            {"STEPS": (), "WARMUP_ITERS": 20, "WARMUP_FACTOR": 0.0},
            [k / 10 for k in range(10)],
            id="warm-up to the end",
        ),
        pytest.param(
            {"LR_SCHEDULER_NAME": "WarmupCosineLR", "WARMUP_ITERS": 0},
            [(1 + math.cos(math.pi * k / 10)) / 2 for k in range(10)],
            id="cosine",
        ),
        pytest.param(
            {
                "LR_SCHEDULER_NAME": "WarmupCosineLR",
                "WARMUP_ITERS": 0,
                "BASE_LR": 0.1,
                "BASE_LR_END": 0.02,
            },
            [0.2 + 0.8 * (1 + math.cos(math.pi * k / 10)) / 2 for k in range(10)],
            id="cosine that ends above 0",
        ),
    ],
)
def test_learning_rate(solver: dict, expected: list[float]) -> None:
    multiplier = lr_multiplier(cfg_of(MAX_ITER=10, **solver).SOLVER)
    assert_close([multiplier(step) for step in range(10)], expected)
    multiplier(10)  # asked for once more after the last step


@pytest.mark.parametrize(
    ("key", "value"),
    [("LR_SCHEDULER_NAME", "WarmupStepWithFixedGammaLR"), ("WARMUP_METHOD", "exponential")],
)
def test_unknown_schedule(key: str, value: str) -> None:
    with pytest.raises(ValueError, match=rf"SOLVER.{key} must be .*, found '{value}'"):
        lr_multiplier(cfg_of(**{key: value}).SOLVER)


def test_parameter_groups() -> None:
    frozen = nn.Linear(2, 2).requires_grad_(False)
    conv, norm = nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4)
    model = nn.ModuleList([conv, norm, frozen, conv])  # one of them twice
    solver = cfg_of(
        BASE_LR=0.1,
        WEIGHT_DECAY=0.3,
        WEIGHT_DECAY_NORM=0.2,
        WEIGHT_DECAY_BIAS=0.0,
        BIAS_LR_FACTOR=2.0,
    ).SOLVER
    found = {
        p: (group["lr"], group["weight_decay"])
        for group in parameter_groups(model, solver)
        for p in group["params"]
    }
    assert found == {
        conv.weight: (0.1, 0.3),
        conv.bias: (0.2, 0.0),
        norm.weight: (0.1, 0.2),
        norm.bias: (0.2, 0.0),
    }


def test_bias_follows_weight_decay_unless_told_otherwise() -> None:
    groups = parameter_groups(nn.Conv2d(4, 4, 1), cfg_of(BASE_LR=0.1, WEIGHT_DECAY=0.3).SOLVER)
    assert [(len(group["params"]), group["lr"], group["weight_decay"]) for group in groups] == [
        (2, 0.1, 0.3)
    ]


def test_a_step_of_sgd() -> None:
    """w = 1, gradient 2, decay 0.1: w - 0.5 * (2 + 0.1) = -0.05; then the velocity 0.9 * 2.1 +
    1.995 = 3.885."""
    parameter = nn.Linear(1, 1, bias=False)
    nn.init.ones_(parameter.weight)
    optimizer = build_optimizer(parameter, cfg_of(BASE_LR=0.5, WEIGHT_DECAY=0.1, MOMENTUM=0.9))
    for expected in (-0.05, -0.05 - 0.5 * 3.885):
        parameter.weight.grad = torch.full((1, 1), 2.0)
        optimizer.step()
        assert_close(parameter.weight.item(), expected)


def test_optimizers() -> None:
    cfg = cfg_of(MOMENTUM=0.8, NESTEROV=True)
    assert build_optimizer(nn.Linear(1, 1), cfg).defaults["nesterov"] is True
    cfg.MODEL.RETINA_PLUGIN.OPTIMIZER = "AdamW"
    assert isinstance(build_optimizer(nn.Linear(1, 1), cfg), torch.optim.AdamW)
    cfg.MODEL.RETINA_PLUGIN.OPTIMIZER = "LAMB"
    with pytest.raises(ValueError, match="OPTIMIZER must be SGD or AdamW, found 'LAMB'"):
        build_optimizer(nn.Linear(1, 1), cfg)


@pytest.mark.parametrize(
    ("kind", "norm", "expected"),
    [
        ("value", 2.0, [[1.0, 1.0], [0.5, -1.0]]),
        ("norm", 2.0, [[0.6, 0.8], [0.5 / math.hypot(0.5, 2), -2 / math.hypot(0.5, 2)]]),
        ("norm", 1.0, [[3 / 7, 4 / 7], [0.2, -0.8]]),
    ],
)
def test_each_gradient_is_clipped_on_its_own(kind: str, norm: float, expected: list) -> None:
    clipping = cfg_of(
        CLIP_GRADIENTS__CLIP_TYPE=kind, CLIP_GRADIENTS__NORM_TYPE=norm
    ).SOLVER.CLIP_GRADIENTS
    parameters = [nn.Parameter(torch.zeros(2)) for _ in range(3)]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 4.0]), torch.tensor([0.5, -2.0])
    clip_gradients(parameters, clipping)
    assert_close(
        torch.stack([p.grad for p in parameters[:2]]), torch.tensor(expected), rtol=1e-5, atol=1e-5
    )
    assert parameters[2].grad is None


def test_unknown_clipping() -> None:
    clipping = cfg_of(CLIP_GRADIENTS__CLIP_TYPE="full_model").SOLVER.CLIP_GRADIENTS
    with pytest.raises(ValueError, match="CLIP_TYPE must be value or norm, found 'full_model'"):
        clip_gradients([], clipping)
