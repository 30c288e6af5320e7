"""Whether a model still answers with numbers."""

import pytest
import torch

from retina_plugin.divergence import is_finite
from tests.models import compact_model


@pytest.mark.parametrize(
    ("name", "value", "finite"),
    [
        pytest.param("", 0.0, True, id="fresh"),
        pytest.param("head.cls_score.bias", float("nan"), False, id="a parameter that is NaN"),
        pytest.param("head.bbox_pred.bias", float("inf"), False, id="boxes alone"),
        pytest.param("backbone.fpn_output3.weight", 3e38, False, id="finite and too large"),
        pytest.param("backbone.bottom_up.stem.conv1.norm.running_var", float("nan"), False, id="a statistic"),
    ],
)
def test_is_finite(name: str, value: float, finite: bool) -> None:
    model = compact_model(MODEL__RESNETS__NORM="BN").train()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    if name:
        model.state_dict()[name].fill_(value)
    assert is_finite(model) == finite
    assert all(module.training for module in model.modules())
    changed = [key for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])]
    assert changed == [name] * bool(name)
