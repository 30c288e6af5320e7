"""Learning rates of every step, compared with values computed by hand."""

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from retina_plugin.solver import build_lr_scheduler, build_progress_scheduler, build_schedule
from tests.solver.configs import cfg_of

FIXED = "WarmupStepWithFixedGammaLR"


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
        pytest.param(
            {"LR_SCHEDULER_NAME": FIXED, "WARMUP_ITERS": 0, "GAMMA": 0.5, "NUM_DECAYS": 3},
            [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125],
            id="three decays at equal distances",
        ),
        pytest.param(
            {"LR_SCHEDULER_NAME": FIXED, "WARMUP_ITERS": 0, "GAMMA": 0.5, "NUM_DECAYS": 19},
            [0.25**k for k in range(10)],
            id="more decays than steps",
        ),
        pytest.param(
            {"STEPS": (5,), "WARMUP_ITERS": 4, "WARMUP_FACTOR": 0.0, "RESCALE_INTERVAL": True},
            [0, 0.25, 0.5, 0.75, 1, 1, 1, 0.1, 0.1, 0.1],
            id="half of what is left after warm-up",
        ),
        pytest.param(
            {
                "LR_SCHEDULER_NAME": "WarmupCosineLR",
                "WARMUP_ITERS": 5,
                "WARMUP_FACTOR": 0.0,
                "RESCALE_INTERVAL": True,
            },
            [k / 5 for k in range(5)] + [(1 + math.cos(math.pi * k / 5)) / 2 for k in range(5)],
            id="a cosine that starts after warm-up",
        ),
        pytest.param(
            {"STEPS": (), "WARMUP_ITERS": 20, "WARMUP_FACTOR": 0.0, "RESCALE_INTERVAL": True},
            [k / 10 for k in range(10)],
            id="nothing to rescale after warm-up",
        ),
    ],
)
def test_learning_rate(solver: dict, expected: list[float]) -> None:
    solver = cfg_of(MAX_ITER=10, **{"BASE_LR": 0.1, **solver}).SOLVER
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler, found = build_lr_scheduler(optimizer, solver), []
    for _ in range(10):
        found.append(optimizer.param_groups[0]["lr"] / 0.1)
        optimizer.step()
        scheduler.step()  # also after the last step
    assert_close(found, [float(factor) for factor in expected])
    scheduler.step()
    assert build_schedule(solver)(1.0) >= 0


@pytest.mark.parametrize(
    ("key", "value"),
    [("LR_SCHEDULER_NAME", "WarmupPolyLR"), ("WARMUP_METHOD", "exponential")],
)
def test_unknown_schedule(key: str, value: str) -> None:
    with pytest.raises(ValueError, match=rf"SOLVER.{key} must be .*, found '{value}'"):
        build_schedule(cfg_of(**{key: value}).SOLVER)


def rates_of_progress(solver: dict[str, object], progress: list[float]) -> list[float]:
    """Factors of the learning rate of a run with the given progress before each step."""
    cfg, now = cfg_of(**{"BASE_LR": 1.0, "MAX_ITER": 10, **solver}), iter([0.0, *progress[1:], 1.0])
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = build_progress_scheduler(optimizer, cfg.SOLVER, lambda: next(now))
    rates = []
    for _ in progress:
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("solver", "progress", "expected"),
    [
        pytest.param(
            {"STEPS": (5,), "WARMUP_ITERS": 2, "WARMUP_FACTOR": 0.5},
            [0.0, 0.1, 0.2, 0.4, 0.5, 0.9],
            [0.5, 0.75, 1.0, 1.0, 0.1, 0.1],
            id="STEPS are shares of MAX_ITER",
        ),
        pytest.param(
            {"STEPS": (), "WARMUP_ITERS": 3, "WARMUP_FACTOR": 0.2, "WARMUP_METHOD": "constant"},
            [0.0, 0.01, 0.02, 0.03, 1.0],
            [0.2, 0.2, 0.2, 1.0, 1.0],
            id="constant warm-up",
        ),
        pytest.param(
            {"LR_SCHEDULER_NAME": "WarmupCosineLR", "WARMUP_ITERS": 2, "WARMUP_FACTOR": 0.0},
            [0.0, 0.1, 0.5, 1.0],
            [0.0, 0.5 * (1 + math.cos(0.1 * math.pi)) / 2, 0.5, 0.0],
            id="a cosine",
        ),
        pytest.param(
            {"STEPS": (), "WARMUP_ITERS": 4, "WARMUP_FACTOR": 0.0},
            [0.0, 0.2, 0.4, 0.6],
            [0.0, 0.5, 1.0, 1.0],
            id="few steps: the warm-up ends at 4 of 10 of the progress, after 2 steps",
        ),
        pytest.param(
            {"STEPS": (), "WARMUP_ITERS": 2, "WARMUP_FACTOR": 0.0},
            [0.0, 0.01, 0.02, 0.03],
            [0.0, 0.5, 1.0, 1.0],
            id="many steps: the warm-up ends after 2 steps",
        ),
    ],
)
def test_schedules_of_a_run_with_a_time_budget(
    solver: dict[str, object], progress: list[float], expected: list[float]
) -> None:
    assert_close(rates_of_progress(solver, progress), expected)


@pytest.mark.parametrize("name", ["WarmupCosineLR", FIXED, "WarmupMultiStepLR"])
def test_equal_progress_gives_the_schedule_of_steps(name: str) -> None:
    solver = {"LR_SCHEDULER_NAME": name, "WARMUP_ITERS": 0, "STEPS": (4, 8)}
    schedule = build_schedule(cfg_of(**solver, MAX_ITER=10, BASE_LR=1.0).SOLVER)
    progress = [k / 10 for k in range(10)]
    assert_close(rates_of_progress(solver, progress), [schedule(p) for p in progress])
