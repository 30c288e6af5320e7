"""Quality focal loss and varifocal loss: formulas, limits, gradients and errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from retina_plugin.config import ConfigError, check_rules
from retina_plugin.losses import (
    chunked,
    quality_focal_terms,
    sigmoid_focal_loss,
    sigmoid_quality_focal_loss,
    sigmoid_varifocal_loss,
    varifocal_terms,
)
from tests.models import compact_cfg

LABELS = torch.tensor([0, 2, 3, -1, 3, 1])  # K = 3: classes 0 to 2, background 3, ignored -1
# rows that are not positive may have any quality
QUALITY = torch.tensor([0.3, 1.0, math.nan, 7.0, -1.0, 0.8], dtype=torch.float64)
BOTH = pytest.mark.usefixtures("both_forms")
LOSSES = [
    pytest.param(sigmoid_quality_focal_loss, id="quality_focal"),
    pytest.param(sigmoid_varifocal_loss, id="varifocal"),
]
Loss = Callable[..., torch.Tensor]


def targets() -> torch.Tensor:
    """(R, K): the quality in the column of the class, 0 elsewhere."""
    table = torch.zeros(6, 3, dtype=torch.float64)
    table[[0, 1, 5], [0, 2, 1]] = QUALITY[[0, 1, 5]]
    return table


def formula(loss: Loss, logits: torch.Tensor, gamma: float) -> torch.Tensor:
    """The papers' equations; 0.75 is varifocal loss's alpha."""
    p, t = logits.double().sigmoid(), targets()
    cross_entropy = -t * p.log() - (1 - t) * (1 - p).log()
    if loss is sigmoid_quality_focal_loss:
        values = (p - t).abs() ** gamma * cross_entropy
    else:
        values = torch.where(t > 0, t * cross_entropy, 0.75 * p**gamma * cross_entropy)
    return values * (LABELS >= 0)[:, None]


@BOTH
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("elements", [1, 7, 2**17], ids="pieces of {}".format)
def test_formula(loss: Loss, gamma: float, elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(chunked.CHUNK_ELEMENTS, "cpu", elements)
    logits = torch.randn(6, 3, dtype=torch.float64) * 3
    expected = formula(loss, logits, gamma)
    arguments: dict[str, Any] = {"quality": QUALITY, "alpha": 0.25, "gamma": gamma}
    assert_close(loss(logits, LABELS, reduction="none", **arguments), expected)
    assert_close(loss(logits, LABELS, **arguments), expected.sum())
    assert_close(loss(logits, LABELS, reduction="mean", **arguments), expected.mean())


@BOTH
@pytest.mark.parametrize(
    ("quality", "expected"),
    [
        pytest.param(0.5, (0.0, math.log(2) / 2), id="the score equals the target"),
        pytest.param(1.0, (math.log(2) / 4, math.log(2)), id="target 1, an error of 0.5"),
        pytest.param(0.0, (math.log(2) / 4, 0.75 * math.log(2) / 4), id="target 0: background"),
    ],
)
def test_one_anchor_with_a_score_of_one_half(quality: float, expected: tuple[float, float]) -> None:
    losses = sigmoid_quality_focal_loss, sigmoid_varifocal_loss
    for loss, value in zip(losses, expected, strict=True):
        found = loss(
            torch.zeros(1, 1),
            torch.tensor([0]),
            quality=torch.tensor([quality]),
            alpha=0.25,
            gamma=2.0,
        )
        assert_close(found, torch.tensor(value))


@BOTH
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_without_quality_it_is_focal_loss_without_weights(gamma: float) -> None:
    """Values and gradients are equal, also for a quality of 1."""
    logits = (torch.randn(6, 3) * 4).requires_grad_()
    expected = sigmoid_focal_loss(logits, LABELS, alpha=-1.0, gamma=gamma)
    found = [sigmoid_quality_focal_loss(logits, LABELS, gamma=gamma)]
    if gamma != 0.5:
        found.append(sigmoid_quality_focal_loss(logits, LABELS, quality=torch.ones(6), gamma=gamma))
    for loss in found:
        assert_close(loss, expected)
        gradients = (torch.autograd.grad(x, logits, retain_graph=True) for x in (loss, expected))
        assert_close(*gradients)


@BOTH
@pytest.mark.parametrize("loss", LOSSES)
def test_a_positive_of_quality_0_is_background(loss: Loss) -> None:
    logits = torch.randn(6, 3, requires_grad=True)
    background = torch.where(LABELS >= 0, 3, LABELS)
    found = loss(logits, LABELS, quality=torch.zeros(6), alpha=0.25, gamma=2.0)
    expected = loss(logits, background, alpha=0.25, gamma=2.0)
    assert_close(found, expected)
    assert_close(torch.autograd.grad(found, logits), torch.autograd.grad(expected, logits))


@BOTH
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("gamma", [0.0, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_gradcheck(loss: Loss, gamma: float, reduction: str) -> None:
    logits = (torch.randn(6, 3, dtype=torch.float64) * 3).requires_grad_()
    arguments: dict[str, Any] = {"quality": QUALITY, "alpha": 0.25, "gamma": gamma}
    assert torch.autograd.gradcheck(
        lambda x: loss(x, LABELS, reduction=reduction, **arguments), logits
    )


@BOTH
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("quality", [0.0, 1e-30, 0.5, 1 - 1e-7, 1.0])
@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_finite_at_saturated_logits_and_at_the_target(
    loss: Loss, quality: float, gamma: float
) -> None:
    at_target = math.log(quality / (1 - quality)) if 0 < quality < 1 else 0.0
    logits = torch.tensor([[-200.0], [-20.0], [0.0], [20.0], [200.0], [at_target]])
    logits.requires_grad_()
    labels, soft = torch.zeros(6, dtype=torch.int64), torch.full((6,), quality)
    value = loss(logits, labels, quality=soft, alpha=0.25, gamma=gamma)
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.isfinite()
    # that of the cross entropy is at most 1; the factor adds little
    assert gradient.abs().max() <= 1 + gamma / 2


@pytest.mark.parametrize("loss", LOSSES)
def test_one_tensor_is_kept_for_backward(loss: Loss) -> None:
    logits, saved = torch.randn(100, 80, requires_grad=True), []
    labels, quality = torch.arange(100) % 81, torch.rand(100)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: saved.append(x.nbytes) or x, lambda x: x
    ):
        loss(logits, labels, quality=quality, alpha=0.25, gamma=2.0)
    assert sum(saved) == logits.nbytes


@BOTH
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_computed_in_float32(loss: Loss, dtype: torch.dtype) -> None:
    logits = (torch.randn(6, 3) * 8).to(dtype)
    found = loss(logits, LABELS, quality=QUALITY.float(), alpha=0.25, gamma=2.0)
    assert found.dtype == torch.float32
    assert_close(found.double(), formula(loss, logits, 2.0).sum(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("terms", [quality_focal_terms, varifocal_terms], ids=["qfl", "vfl"])
def test_the_form_for_accelerators_gives_the_same(terms: Any) -> None:
    logits, weights = torch.randn(6, 3), torch.full((3,), 0.75)
    logits[3] = math.inf  # the ignored row
    arguments: dict[str, Any] = {"positive": weights, "negative": weights, "gamma": 2.0}
    found = chunked.dense_values(terms, logits, LABELS, QUALITY.float(), **arguments)
    expected = chunked.chunked_loss(
        terms, logits, LABELS, quality=QUALITY.float(), elementwise=True, **arguments
    )
    assert_close(found, expected)


@pytest.mark.parametrize(
    ("quality", "gamma", "words"),
    [
        (torch.full((6,), 1.5), 2.0, r"must lie in 0..1, found 1.5 to 1.5"),
        (torch.full((6,), math.nan), 2.0, r"must lie in 0..1, found nan"),
        (torch.ones(5), 2.0, r"quality \(R,\) = \(6,\), found \(5,\)"),
        (torch.ones(6, dtype=torch.int64), 2.0, "floating point quality"),
        (torch.ones(6), 0.5, "must be 0 or at least 1, found 0.5"),
    ],
)
def test_wrong_quality(quality: torch.Tensor, gamma: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sigmoid_quality_focal_loss(torch.zeros(6, 3), LABELS, quality=quality, gamma=gamma)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("FOCAL_LOSS_ALPHA", "auto", "expected a number, because quality_focal has no weights"),
        ("FOCAL_LOSS_ALPHA", [0.1, 0.2, 0.3], "use varifocal or focal, found"),
        ("FOCAL_LOSS_GAMMA", 0.5, "expected 0 or at least 1, .* found 0.5"),
    ],
)
def test_config_values_that_quality_focal_cannot_use(key: str, value: Any, words: str) -> None:
    changes = {"MODEL__RETINA_PLUGIN__CLASS_LOSS__NAME": "quality_focal"}
    check_rules(compact_cfg(**changes))
    with pytest.raises(ConfigError, match=f"MODEL.RETINANET.{key} for CLASS_LOSS.*{words}"):
        check_rules(compact_cfg(**changes, **{f"MODEL__RETINANET__{key}": value}))
