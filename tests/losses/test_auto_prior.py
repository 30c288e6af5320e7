"""Initial scores from class frequencies."""

import pytest
import torch
from torch.testing import assert_close

from retina_plugin.config.checks import check_rules
from retina_plugin.config.errors import ConfigError
from retina_plugin.engine.checks import resolve_prior
from retina_plugin.losses import auto_prior
from retina_plugin.modeling.build import build_model
from tests.models import compact_cfg

NAMES = ["cat", "elephant", "yeti"]
COUNTS = {"a": [60, 20, 0], "b": [60, 10, 0]}  # 120, 30, 0 in all


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        pytest.param([5, 5, 5, 5], [0.01] * 4, id="equal shares"),
        pytest.param([300, 100], [0.015, 0.005], id="3 : 1, mean 0.01"),
        pytest.param([120, 30, 0], [0.024, 0.006, 0.0001], id="a class without boxes"),
        pytest.param([0, 0], [0.01, 0.01], id="nothing"),
        pytest.param([1], [0.01], id="one class"),
        pytest.param([100] + [0] * 99, [0.5] + [0.0001] * 99, id="bounds"),
    ],
)
def test_auto_prior(counts: list[int], expected: list[float]) -> None:
    assert auto_prior(counts, base=0.01) == pytest.approx(expected)


def auto_cfg(**changes):
    return compact_cfg(MODEL__RETINANET__PRIOR_PROB="auto", DATASETS__TRAIN=("a", "b"), **changes)


def test_the_training_sets_are_counted_and_the_table_is_printed() -> None:
    cfg = auto_cfg()
    table = resolve_prior(cfg, NAMES, COUNTS.__getitem__)
    assert cfg.MODEL.RETINANET.PRIOR_PROB == [0.024, 0.006, 0.0001]
    assert [line.split() for line in table.splitlines()[1:]] == [
        ["class", "boxes", "share", "prior"],
        ["yeti", "0", "0.00%", "0.0001"],
        ["elephant", "30", "20.00%", "0.0060"],
        ["cat", "120", "80.00%", "0.0240"],
    ]
    assert resolve_prior(cfg, NAMES, lambda name: pytest.fail("counted again")) == ""
    bias = build_model(cfg).head.cls_score.bias.sigmoid()
    assert_close(bias.view(-1, 3), torch.tensor([[0.024, 0.006, 0.0001]]).expand(len(bias) // 3, 3))


def test_a_model_that_only_detects_needs_no_counts() -> None:
    model = build_model(auto_cfg(MODEL__RETINA_PLUGIN__AUTO_PRIOR_BASE=0.03))
    assert_close(model.head.cls_score.bias.sigmoid().mean().item(), 0.03, rtol=1e-5, atol=0)


def test_an_invalid_base() -> None:
    with pytest.raises(ConfigError, match=r"AUTO_PRIOR_BASE: expected from 0.0001 to .*, found 2"):
        check_rules(auto_cfg(MODEL__RETINA_PLUGIN__AUTO_PRIOR_BASE=2.0))


@pytest.mark.parametrize("value", ["automatic", 0.0, 1, [], [0.1, 2.0], None])
def test_values_of_the_key(value: object) -> None:
    with pytest.raises(ConfigError, match="PRIOR_PROB: expected a score between 0 and 1, a list"):
        compact_cfg(MODEL__RETINANET__PRIOR_PROB=value)
