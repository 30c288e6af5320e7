"""Learning rate and weight decay of parameter groups, and their order."""

from torch import nn

from retina_plugin.solver import parameter_groups
from tests.solver.configs import cfg_of


def test_parameter_groups() -> None:
    frozen = nn.Linear(2, 2).requires_grad_(False)
    conv, norm = nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4)
    model = nn.ModuleList([conv, norm, frozen, conv])  # one of them is used twice
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


def test_biases_have_the_weight_decay_of_weights_by_default() -> None:
    groups = parameter_groups(nn.Conv2d(4, 4, 1), cfg_of(BASE_LR=0.1, WEIGHT_DECAY=0.3).SOLVER)
    assert [(len(group["params"]), group["lr"], group["weight_decay"]) for group in groups] == [
        (2, 0.1, 0.3)
    ]


def test_norms_are_a_separate_group_even_with_equal_weight_decay() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 2))
    solver = cfg_of(WEIGHT_DECAY=0.1, WEIGHT_DECAY_NORM=0.1).SOLVER
    first, second = parameter_groups(model, solver)
    assert first["params"] == [*model[0].parameters(), *model[2].parameters()]
    assert second["params"] == [*model[1].parameters()]
    assert first["weight_decay"] == second["weight_decay"] == 0.1


def test_a_shared_parameter_is_in_the_group_of_its_first_module() -> None:
    """The weight of a norm is shared with a later layer, and a bias with two layers. Each has the
    settings of its first module, and a step changes it once."""
    norm, first, second = nn.LayerNorm(2), nn.Linear(2, 2), nn.Linear(2, 2)
    second.scale = norm.weight
    second.bias = first.bias
    model = nn.ModuleList([norm, first, second])
    solver = cfg_of(BASE_LR=0.1, WEIGHT_DECAY=0.3, WEIGHT_DECAY_NORM=0.2).SOLVER
    norms, weights = parameter_groups(model, solver)
    assert norms["params"] == [norm.weight, norm.bias]
    assert weights["params"] == [first.weight, first.bias, second.weight]


def test_no_trainable_parameter() -> None:
    assert parameter_groups(nn.Linear(2, 2).requires_grad_(False), cfg_of().SOLVER) == []
