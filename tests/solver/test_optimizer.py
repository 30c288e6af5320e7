"""Optimizers built from a config, and loading of optimizer states of version 0.1."""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from retina_plugin.solver import build_optimizer
from tests.solver.configs import cfg_of


def test_a_step_of_sgd() -> None:
    """w = 1, gradient 2, weight decay 0.1: w - 0.5 * (2 + 0.1) = -0.05; then the momentum is 0.9 *
    2.1 + 1.995 = 3.885."""
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


def small_model() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
    )


def learn(model: nn.Module, optimizer: torch.optim.Optimizer, *, steps: range) -> None:
    for step in steps:
        optimizer.zero_grad()
        generator = torch.Generator().manual_seed(step)
        model(torch.randn(2, 3, 5, 5, generator=generator)).square().mean().backward()
        optimizer.step()


def test_adamw_gives_the_same_bits_as_the_loop_of_pytorch() -> None:
    weights = []
    for foreach in (True, False):
        torch.manual_seed(0)
        model, cfg = small_model(), cfg_of(WEIGHT_DECAY=0.1)
        cfg.MODEL.RETINA_PLUGIN.OPTIMIZER = "AdamW"
        optimizer = build_optimizer(model, cfg)
        for group in optimizer.param_groups:
            assert group["foreach"] is True
            group["foreach"] = foreach
        learn(model, optimizer, steps=range(3))
        weights.append(list(model.parameters()))
    assert_close(*weights, rtol=0, atol=0)


EQUAL = {
    "no weight decay": {"WEIGHT_DECAY": 0.0},
    "norms as weights": {"WEIGHT_DECAY": 0.1, "WEIGHT_DECAY_NORM": 0.1},
    "norms as biases": {"WEIGHT_DECAY_NORM": 0.2, "WEIGHT_DECAY_BIAS": 0.2, "BIAS_LR_FACTOR": 2.0},
    "biases as weights": {"WEIGHT_DECAY": 0.1, "WEIGHT_DECAY_BIAS": 0.1},
}


@pytest.mark.parametrize("merged", [True, False])
@pytest.mark.parametrize("solver", EQUAL.values(), ids=EQUAL)
@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_states_with_merged_groups_continue(name: str, solver: dict, merged: bool) -> None:
    """On Lightning, version 0.1 merged parameters with equal settings into one group, in the order
    of the model."""
    cfg = cfg_of(BASE_LR=0.1, **solver)
    cfg.MODEL.RETINA_PLUGIN.OPTIMIZER = name
    model = small_model()
    optimizer = build_optimizer(model, cfg)
    if merged:
        optimizer = type(optimizer)(merged_groups(model, optimizer), **arguments(name, cfg))
    learn(model, optimizer, steps=range(3))
    resumed = copy.deepcopy(model)
    loaded = build_optimizer(resumed, cfg)
    groups = [len(group["params"]) for group in loaded.param_groups]
    loaded.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert [len(group["params"]) for group in loaded.param_groups] == groups
    learn(model, optimizer, steps=range(3, 6))
    learn(resumed, loaded, steps=range(3, 6))
    assert_close(list(resumed.parameters()), list(model.parameters()), rtol=0, atol=0)


def merged_groups(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[dict]:
    numbers = {p: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    groups: dict = {}
    for parameter in model.parameters():
        groups.setdefault(numbers[parameter], []).append(parameter)
    return [{"params": ps, "lr": lr, "weight_decay": decay} for (lr, decay), ps in groups.items()]


def arguments(name: str, cfg) -> dict:
    return {"momentum": cfg.SOLVER.MOMENTUM} if name == "SGD" else {}


def test_a_state_of_another_model_is_refused() -> None:
    cfg = cfg_of(WEIGHT_DECAY=0.0)
    state = build_optimizer(nn.Linear(2, 2), cfg).state_dict()
    with pytest.raises(ValueError, match="different number of parameter groups"):
        build_optimizer(small_model(), cfg).load_state_dict(state)
