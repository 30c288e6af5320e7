"""Detection of a diverged model, and the advice in the message."""

import pytest
import torch

from retina_plugin import get_cfg
from retina_plugin.engine.divergence import divergence_error, has_finite_predictions
from tests.models import compact_model


@pytest.mark.parametrize(
    ("name", "value", "finite"),
    [
        pytest.param("", 0.0, True, id="fresh"),
        pytest.param("head.cls_score.bias", float("nan"), False, id="a parameter that is NaN"),
        pytest.param("head.bbox_pred.bias", float("inf"), False, id="boxes only"),
        pytest.param("backbone.fpn_output3.weight", 3e38, False, id="finite and too large"),
        pytest.param(
            "backbone.bottom_up.stem.conv1.norm.running_var", float("nan"), False, id="a statistic"
        ),
    ],
)
def test_is_finite(name: str, value: float, finite: bool) -> None:
    model = compact_model(MODEL__RESNETS__NORM="BN").train()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    if name:
        model.state_dict()[name].fill_(value)
    assert has_finite_predictions(model) == finite
    assert all(module.training for module in model.modules())
    changed = [
        key for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])
    ]
    assert changed == [name] * bool(name)


LR, FACTOR, WARMUP = (
    "lower SOLVER.BASE_LR (it is 0.02)",
    "set SOLVER.WARMUP_FACTOR",
    "lengthen SOLVER.WARMUP_ITERS",
)
CLIP, VALUE, AMP = (
    "CLIP_GRADIENTS.ENABLED to True",
    "lower SOLVER.CLIP_GRADIENTS.CLIP_VALUE",
    "AMP.ENABLED to False",
)


@pytest.mark.parametrize(
    ("changes", "advised"),
    [
        ({"WARMUP_ITERS": 100}, {LR, WARMUP, CLIP}),
        ({"WARMUP_ITERS": 1000}, {LR, CLIP}),
        ({"WARMUP_ITERS": 100, "MAX_ITER": 150}, {LR, CLIP}),
        ({"WARMUP_ITERS": 0}, {LR, WARMUP, CLIP}),
        ({"WARMUP_ITERS": 100, "WARMUP_FACTOR": 1.0}, {LR, FACTOR, CLIP}),
        ({"WARMUP_ITERS": 1000, "CLIP_GRADIENTS.ENABLED": True}, {LR, VALUE}),
        (
            {"WARMUP_ITERS": 1000, "CLIP_GRADIENTS.ENABLED": True, "AMP.ENABLED": True},
            {LR, VALUE, AMP},
        ),
    ],
)
def test_advice_is_not_what_the_run_already_does(changes: dict, advised: set[str]) -> None:
    cfg = get_cfg()
    values = {"BASE_LR": 0.02, **changes}
    cfg.merge_from_list(
        [word for key, value in values.items() for word in (f"SOLVER.{key}", value)]
    )
    error = str(divergence_error("The loss became nan", iteration=7, lr=0.01, cfg=cfg)).replace(
        "Lower SOLVER", "lower SOLVER"
    )
    assert {words for words in (LR, FACTOR, WARMUP, CLIP, VALUE, AMP) if words in error} == advised
    assert "The loss became nan at iteration 7, where the learning rate was 0.01." in error
