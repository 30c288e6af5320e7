"""The shared solver on Detectron2's trainer equals Detectron2's own: groups, learning rates,
clipping and steps."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.config import get_cfg as detectron2_cfg
from detectron2.layers import FrozenBatchNorm2d, NaiveSyncBatchNorm
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.solver.build import maybe_add_gradient_clipping
from torch import nn
from torch.testing import assert_close

from retina_plugin import get_cfg
from retina_plugin.config.checks import check_rules
from retina_plugin.d2 import config
from retina_plugin.d2.trainer import RetinaTrainer
from tests.d2.reference import THEIRS
from tests.models import COMPACT

DECAYS = {
    "defaults": {},
    "no decay": {"WEIGHT_DECAY": 0.0},
    "norms": {"WEIGHT_DECAY_NORM": 0.3},
    "norms as weights": {"WEIGHT_DECAY": 0.3, "WEIGHT_DECAY_NORM": 0.3},
    "biases": {"WEIGHT_DECAY_BIAS": 0.0, "BIAS_LR_FACTOR": 2.0},
    "biases as norms": {"WEIGHT_DECAY_NORM": 0.2, "WEIGHT_DECAY_BIAS": 0.2},
    "both": {"WEIGHT_DECAY_NORM": 0.3, "WEIGHT_DECAY_BIAS": 0.2, "BIAS_LR_FACTOR": 0.5},
}


def cfg_of(changes: dict[str, Any] | None = None, **solver: Any) -> CfgNode:
    """Detectron2's config with the small model of the other tests; in names of ``SOLVER`` keys,
    ``__`` stands for a dot."""
    cfg = get_cfg()
    own = {f"SOLVER.{key.replace('__', '.')}": value for key, value in solver.items()}
    for key, value in {**COMPACT, **(changes or {}), **own}.items():
        cfg.merge_from_list([key, value])
    return cfg


def every_kind() -> nn.Module:
    """A model with tied and frozen parameters, all norms, a parameter without a layer, and a
    parameter that is only named bias."""
    tied = nn.Linear(4, 4)
    frozen = nn.Conv2d(4, 4, 1).requires_grad_(False)
    norms = [
        nn.BatchNorm1d(4),
        nn.BatchNorm2d(4),
        nn.BatchNorm3d(4),
        nn.SyncBatchNorm(4),
        NaiveSyncBatchNorm(4),
        FrozenBatchNorm2d(4),
        nn.InstanceNorm2d(4, affine=True),
        nn.GroupNorm(2, 4),
        nn.LayerNorm(4),
        nn.LocalResponseNorm(2),
        nn.RMSNorm(4),
    ]
    model = nn.ModuleList([tied, frozen, *norms, nn.ModuleDict({"bias": tied}), nn.PReLU()])
    model.register_parameter("bias", nn.Parameter(torch.zeros(2)))
    model.register_parameter("scale", nn.Parameter(torch.zeros(2)))
    model.tied_weight = tied.weight
    model[2].weight.requires_grad_(False)
    return model


MODELS = {
    "every kind": lambda: every_kind(),
    "ours, GN": lambda: build_model(cfg_of({"MODEL.RETINANET.NORM": "GN"})),
    "ours, BN, two stages frozen": lambda: build_model(
        cfg_of({"MODEL.RESNETS.NORM": "BN", "MODEL.BACKBONE.FREEZE_AT": 2})
    ),
    "Detectron2's RetinaNet": lambda: build_model(
        cfg_of({**THEIRS, "MODEL.RESNETS.NORM": "FrozenBN", "MODEL.RESNETS.RES2_OUT_CHANNELS": 64})
    ),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_groups_and_their_order(model: Any) -> None:
    model = model()
    for name, decays in DECAYS.items():
        cfg = cfg_of(BASE_LR=0.02, MOMENTUM=0.8, NESTEROV=True, **decays)
        theirs, ours = build_optimizer(cfg, model), RetinaTrainer.build_optimizer(cfg, model)
        assert len(ours.param_groups) == len(theirs.param_groups), name
        for own, their in zip(ours.param_groups, theirs.param_groups, strict=True):
            assert list(map(id, own["params"])) == list(map(id, their["params"])), name
            for key in ("lr", "weight_decay", "momentum", "nesterov", "dampening", "maximize"):
                assert own[key] == their[key], (name, key)


FIXED = "WarmupStepWithFixedGammaLR"
COSINE = "WarmupCosineLR"


@pytest.mark.parametrize(
    "solver",
    [
        {"STEPS": (20, 35), "WARMUP_ITERS": 10},
        {"STEPS": (20, 99), "WARMUP_ITERS": 25, "GAMMA": 0.3},
        {"STEPS": (), "WARMUP_ITERS": 100},
        {"STEPS": (3,), "WARMUP_ITERS": 7, "WARMUP_METHOD": "constant", "WARMUP_FACTOR": 0.2},
        {"STEPS": (20, 35), "WARMUP_ITERS": 10, "RESCALE_INTERVAL": True},
        {"LR_SCHEDULER_NAME": COSINE, "WARMUP_ITERS": 10},
        {"LR_SCHEDULER_NAME": COSINE, "WARMUP_ITERS": 0, "BASE_LR_END": 0.001},
        {"LR_SCHEDULER_NAME": COSINE, "WARMUP_ITERS": 7, "RESCALE_INTERVAL": True},
        {"LR_SCHEDULER_NAME": FIXED, "WARMUP_ITERS": 7, "NUM_DECAYS": 3},
        {"LR_SCHEDULER_NAME": FIXED, "WARMUP_ITERS": 15, "NUM_DECAYS": 6, "GAMMA": 0.7},
        {
            "LR_SCHEDULER_NAME": FIXED,
            "WARMUP_ITERS": 4,
            "RESCALE_INTERVAL": True,
            "WARMUP_METHOD": "constant",
        },
    ],
)
def test_learning_rate_at_every_step(solver: dict[str, Any]) -> None:
    cfg = cfg_of(MAX_ITER=40, BASE_LR=0.02, **solver)
    parameters = [nn.Parameter(torch.zeros(1))]
    optimizers = [torch.optim.SGD(parameters, lr=0.02) for _ in range(2)]
    theirs = build_lr_scheduler(cfg, optimizers[0])
    ours = RetinaTrainer.build_lr_scheduler(cfg, optimizers[1])
    for step in range(40):
        if step:
            for optimizer, scheduler in zip(optimizers, (theirs, ours), strict=True):
                optimizer.step()
                scheduler.step()
        assert ours.get_last_lr() == theirs.get_last_lr(), step
    assert ours.state_dict() == theirs.state_dict() == {"base_lrs": [0.02], "last_epoch": 39}
    ours.step()  # after the last step; Detectron2's fixed-gamma schedule fails there
    assert ours.last_epoch == 40


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
@pytest.mark.parametrize(
    "clipping",
    [
        {"ENABLED": False},
        {"ENABLED": True, "CLIP_TYPE": "value", "CLIP_VALUE": 0.5},
        {"ENABLED": True, "CLIP_TYPE": "norm", "CLIP_VALUE": 0.5},
        {"ENABLED": True, "CLIP_TYPE": "norm", "CLIP_VALUE": 0.1, "NORM_TYPE": 1.0},
    ],
)
def test_steps_and_clipped_gradients(name: str, clipping: dict[str, Any]) -> None:
    """Start from a state saved by Detectron2's optimizer, as a resumed run does."""
    changes = {f"CLIP_GRADIENTS__{key}": value for key, value in clipping.items()}
    cfg = cfg_of({"MODEL.RETINA_PLUGIN.OPTIMIZER": name}, BASE_LR=0.1, **changes)
    reference = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 4, 1))
    theirs = their_optimizer(cfg, reference)
    step([reference], [theirs])
    own = copy.deepcopy(reference)
    ours = RetinaTrainer.build_optimizer(cfg, own)
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
    for _ in range(3):
        step([reference, own], [theirs, ours])
        for a, b in zip(reference.parameters(), own.parameters(), strict=True):
            assert_close(b.grad, a.grad, rtol=0, atol=0)
            assert_close(b, a, rtol=0, atol=0)


def their_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Detectron2's SGD, or AdamW with Detectron2's groups."""
    sgd = build_optimizer(cfg, model)
    if cfg.MODEL.RETINA_PLUGIN.OPTIMIZER == "SGD":
        return sgd
    keys = ("params", "lr", "weight_decay")
    groups = [{key: group[key] for key in keys} for group in sgd.param_groups]
    return maybe_add_gradient_clipping(cfg, torch.optim.AdamW(groups, lr=cfg.SOLVER.BASE_LR))


def step(models: list[nn.Module], optimizers: list[torch.optim.Optimizer]) -> None:
    """Step all optimizers with the same random gradients."""
    for parameters in zip(*(model.parameters() for model in models), strict=True):
        gradient = torch.randn_like(parameters[0])
        for parameter in parameters:
            parameter.grad = gradient.clone()
    for optimizer in optimizers:
        optimizer.step()


def test_an_older_detectron2_gets_the_keys_of_the_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    older = detectron2_cfg()
    for key in ("NUM_DECAYS", "RESCALE_INTERVAL"):
        older.SOLVER.pop(key)
    monkeypatch.setattr(config, "detectron2_cfg", lambda: older)
    cfg = config.get_cfg()
    check_rules(cfg)
    assert (cfg.SOLVER.NUM_DECAYS, cfg.SOLVER.RESCALE_INTERVAL) == (3, False)
    RetinaTrainer.build_lr_scheduler(cfg, torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.02))
