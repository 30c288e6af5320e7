"""Learning rate and weight decay of parameter groups, and their order."""

import pytest
from torch import nn

from retina_plugin.solver import parameter_groups
from tests.models import compact_model
from tests.solver.configs import cfg_of


def test_parameter_groups() -> None:
    frozen = nn.Linear(2, 2).requires_grad_(False)
    conv, norm = nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4)
    model = nn.ModuleList([conv, norm, frozen, conv])  # one of them is used twice
    cfg = cfg_of(
        BASE_LR=0.1,
        WEIGHT_DECAY=0.3,
        WEIGHT_DECAY_NORM=0.2,
        WEIGHT_DECAY_BIAS=0.0,
        BIAS_LR_FACTOR=2.0,
    )
    found = {
        p: (group["lr"], group["weight_decay"])
        for group in parameter_groups(model, cfg)
        for p in group["params"]
    }
    assert found == {
        conv.weight: (0.1, 0.3),
        conv.bias: (0.2, 0.0),
        norm.weight: (0.1, 0.2),
        norm.bias: (0.2, 0.0),
    }


def test_biases_have_the_weight_decay_of_weights_by_default() -> None:
    groups = parameter_groups(nn.Conv2d(4, 4, 1), cfg_of(BASE_LR=0.1, WEIGHT_DECAY=0.3))
    assert [(len(group["params"]), group["lr"], group["weight_decay"]) for group in groups] == [
        (2, 0.1, 0.3)
    ]


def test_norms_are_a_separate_group_even_with_equal_weight_decay() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 2))
    cfg = cfg_of(WEIGHT_DECAY=0.1, WEIGHT_DECAY_NORM=0.1)
    first, second = parameter_groups(model, cfg)
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
    cfg = cfg_of(BASE_LR=0.1, WEIGHT_DECAY=0.3, WEIGHT_DECAY_NORM=0.2)
    norms, weights = parameter_groups(model, cfg)
    assert norms["params"] == [norm.weight, norm.bias]
    assert weights["params"] == [first.weight, first.bias, second.weight]


def test_no_trainable_parameter() -> None:
    assert parameter_groups(nn.Linear(2, 2).requires_grad_(False), cfg_of()) == []


class Detector(nn.Module):
    """A backbone of three stages below a pyramid, and a head; one weight each."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.lateral = nn.Linear(1, 1, bias=False)
        self.backbone.bottom_up = nn.ModuleDict(
            {name: nn.Linear(1, 1, bias=False) for name in ("stem", "res2", "res3")}
        )
        self.head = nn.Linear(1, 1, bias=False)


@pytest.mark.parametrize(
    ("factor", "decay", "expected"),
    [
        (1.0, 1.0, {"": 0.8}),
        (0.5, 1.0, {"": 0.8, "stem": 0.4, "res2": 0.4, "res3": 0.4}),
        (1.0, 0.5, {"": 0.8, "stem": 0.2, "res2": 0.4, "res3": 0.8}),
        (0.5, 0.5, {"": 0.8, "stem": 0.1, "res2": 0.2, "res3": 0.4}),
    ],
)
def test_rates_of_the_backbone(factor: float, decay: float, expected: dict[str, float]) -> None:
    """Stage s of 3 has 0.8 x factor x decay^(3 - s); the pyramid and the head have 0.8."""
    model, cfg = Detector(), cfg_of(BASE_LR=0.8)
    cfg.MODEL.RETINA_PLUGIN.SOLVER.BACKBONE_LR_FACTOR = factor
    cfg.MODEL.RETINA_PLUGIN.SOLVER.LAYER_DECAY = decay
    groups = parameter_groups(model, cfg)
    found = {p: group["lr"] for group in groups for p in group["params"]}
    assert len(found) == len(list(model.parameters()))
    stages = model.backbone.bottom_up.items()
    assert {name: found[stage.weight] for name, stage in stages} == pytest.approx(
        {name: expected.get(name, 0.8) for name in ("stem", "res2", "res3")}
    )
    assert found[model.head.weight] == found[model.backbone.lateral.weight] == 0.8
    assert len(groups) == len({round(lr, 9) for lr in expected.values()})


def test_a_model_without_a_backbone_has_one_learning_rate() -> None:
    cfg = cfg_of()
    cfg.MODEL.RETINA_PLUGIN.SOLVER.LAYER_DECAY = 0.5
    with pytest.raises(ValueError, match="LAYER_DECAY must be 1 for a Linear, which has no module"):
        parameter_groups(nn.Linear(2, 2), cfg)


@pytest.mark.parametrize("name", ["resnet", "timm"])
def test_stages_are_those_that_freeze_at_counts(name: str) -> None:
    """The parameters of stages 1 to n are those that ``FREEZE_AT`` n freezes."""
    keys = {"MODEL__RESNETS__NORM": "BN"}
    if name == "timm":
        pytest.importorskip("timm")
        keys = {
            "MODEL__BACKBONE__NAME": "build_retina_timm_fpn_backbone",
            "MODEL__RETINA_PLUGIN__TIMM__NAME": "mobilenetv3_small_050",
            "MODEL__PIXEL_STD": [58.0, 57.0, 57.0],
        }
    model = compact_model(**keys).backbone.bottom_up
    names = {p: n for n, p in model.named_parameters()}
    stages = [{names[p] for p in stage} for stage in model.stages()]
    assert len(stages) == 5
    assert sum(map(len, stages)) == len(names) == len(set().union(*stages))
    for count in (1, 3, 5):
        frozen = compact_model(**keys, MODEL__BACKBONE__FREEZE_AT=count).backbone.bottom_up
        learning = {n for n, p in frozen.named_parameters() if p.requires_grad}
        assert learning == set().union(*stages[count:])
