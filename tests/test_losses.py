"""Identities, limits, empties and gradients of the losses."""

import math

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from retina_plugin.boxes import decode
from retina_plugin.losses import BOX_LOSSES, INITIAL, focal, sigmoid_focal_loss, smooth_l1_loss, update_normalizer

GAMMAS = [0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]
LABELS = torch.tensor([0, 2, 3, -1, 3, 1])  # K = 3: classes, background 3, ignored -1


def one_hot(labels: torch.Tensor, k: int) -> torch.Tensor:
    return F.one_hot(labels.clamp(min=0), k + 1)[:, :k].double()


def formula(logits: torch.Tensor, labels: torch.Tensor, alpha: float, gamma: float) -> torch.Tensor:
    """-alpha_t (1 - p_t)^gamma log p_t in float64, ignored rows 0."""
    target = one_hot(labels, logits.shape[1])
    p = logits.double().sigmoid()
    p_t, alpha_t = torch.where(target > 0, p, 1 - p), torch.where(target > 0, alpha, 1 - alpha)
    return -alpha_t * (1 - p_t) ** gamma * p_t.log() * (labels >= 0)[:, None]


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("chunk", [1, 7, 2**17], ids="chunks of {}".format)
def test_value_is_the_formula(gamma: float, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(focal, "CHUNK_ELEMENTS", chunk)
    logits = torch.randn(6, 3, dtype=torch.float64) * 3
    expected = formula(logits, LABELS, 0.25, gamma)
    assert_close(sigmoid_focal_loss(logits, LABELS, alpha=0.25, gamma=gamma, reduction="none"), expected)
    assert_close(sigmoid_focal_loss(logits, LABELS, alpha=0.25, gamma=gamma), expected.sum())
    assert_close(sigmoid_focal_loss(logits, LABELS, alpha=0.25, gamma=gamma, reduction="mean"), expected.mean())


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_gradcheck(gamma: float, reduction: str) -> None:
    logits = (torch.randn(6, 3, dtype=torch.float64) * 3).requires_grad_()

    def loss(x: torch.Tensor) -> torch.Tensor:
        return sigmoid_focal_loss(x, LABELS, alpha=0.25, gamma=gamma, reduction=reduction)

    assert torch.autograd.gradcheck(loss, logits)


def test_gamma_0_is_weighted_bce_in_value_and_gradient() -> None:
    logits = (torch.randn(6, 3) * 5).requires_grad_()
    weight = torch.where(one_hot(LABELS, 3) > 0, 0.25, 0.75) * (LABELS >= 0)[:, None]
    bce = F.binary_cross_entropy_with_logits(logits, one_hot(LABELS, 3).float(), weight=weight.float(), reduction="sum")
    own = sigmoid_focal_loss(logits, LABELS, alpha=0.25, gamma=0.0)
    assert_close(own, bce)
    assert_close(torch.autograd.grad(own, logits), torch.autograd.grad(bce, logits))


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("logit", [-200.0, -20.0, 0.0, 20.0, 200.0])
@pytest.mark.parametrize("label", [0, 1], ids=["positive", "negative"])
def test_finite_at_saturated_logits(gamma: float, logit: float, label: int) -> None:
    logits = torch.full((1, 1), logit, requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.tensor([label]), alpha=0.25, gamma=gamma)
    loss.backward()
    wrong = (logit < 0) == (label == 0)
    assert loss.isfinite()
    if abs(logit) == 200:
        weight = 0.25 if label == 0 else 0.75  # the derivative of -log p_t is 1 where p_t is 0, and 0 where p_t is 1
        expected = math.copysign(weight, logit) if wrong else 0.0
        assert_close(logits.grad, torch.tensor([[expected]]), atol=1e-6, rtol=1e-6)
        assert_close(loss, torch.tensor(200 * weight if wrong else 0.0))


@pytest.mark.parametrize(
    ("alpha", "silent"), [(0.0, [0, 1]), (1.0, [2, 4])], ids=["alpha 0: positives", "alpha 1: negatives"]
)
def test_alpha_silences_a_side(alpha: float, silent: list[int]) -> None:
    """K = 1: rows 0 and 1 are positives, rows 2 and 4 negatives, row 3 ignored."""
    logits, labels = torch.randn(5, 1), torch.tensor([0, 0, 1, -1, 1])
    losses = sigmoid_focal_loss(logits, labels, alpha=alpha, gamma=2.0, reduction="none")[:, 0]
    assert (losses[silent] == 0).all()
    assert (losses[[i for i in (0, 1, 2, 4) if i not in silent]] > 0).all()


def test_alpha_per_class_and_background() -> None:
    """Class k has its own weight, its negatives 1 - it; background has no entry and is a negative of every class."""
    logits, alpha = torch.randn(6, 3, dtype=torch.float64), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    own = sigmoid_focal_loss(logits, LABELS, alpha=alpha, gamma=2.0, reduction="none")
    columns = [formula(logits, LABELS, float(a), 2.0)[:, k] for k, a in enumerate(alpha)]
    assert_close(own, torch.stack(columns, dim=1))


def test_negative_alpha_weighs_nothing() -> None:
    logits = torch.randn(6, 3)
    own = sigmoid_focal_loss(logits, LABELS, alpha=-1.0, gamma=0.0)
    bce = F.binary_cross_entropy_with_logits(logits, one_hot(LABELS, 3).float(), reduction="none")
    assert_close(own, bce[LABELS >= 0].sum())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    logits = (torch.randn(6, 3) * 8).to(dtype).requires_grad_()
    loss = sigmoid_focal_loss(logits, LABELS, alpha=0.25, gamma=2.0)
    loss.backward()
    assert loss.dtype == torch.float32
    assert logits.grad.dtype == dtype
    assert_close(loss.double(), formula(logits.detach(), LABELS, 0.25, 2.0).sum(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "labels", [torch.zeros(0, dtype=torch.int64), torch.tensor([-1, -1])], ids=["no anchors", "all ignored"]
)
def test_nothing_to_learn_is_zero_with_gradient(labels: torch.Tensor) -> None:
    logits = torch.randn(len(labels), 4, requires_grad=True)
    loss = sigmoid_focal_loss(logits, labels, alpha=0.25, gamma=2.0)
    loss.backward()
    assert_close(loss, torch.tensor(0.0))
    assert_close(logits.grad, torch.zeros_like(logits))


def test_no_subnormal_gradients() -> None:
    logits = torch.linspace(-60, -25, 200)[:, None].requires_grad_()  # p^3 falls from 1e-33 to 1e-78
    sigmoid_focal_loss(logits, torch.ones(200, dtype=torch.int64), alpha=0.25, gamma=2.0).backward()
    positive = logits.grad[logits.grad > 0]
    assert (logits.grad == 0).any()
    assert len(positive) == 0 or positive.min() >= torch.finfo(torch.float32).tiny


def test_one_tensor_is_kept_for_backward() -> None:
    """The saved derivative, and nothing else of the logits' size; Detectron2's way keeps eight."""
    logits, saved = torch.randn(100, 80, requires_grad=True), []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x.numel()) or x, lambda x: x):
        sigmoid_focal_loss(logits, torch.full((100,), 80), alpha=0.25, gamma=2.0)
    assert sum(saved) == logits.numel()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gamma": -1.0}, "gamma must be at least 0"),
        ({"gamma": math.nan}, "gamma must be at least 0"),
        ({"reduction": "avg"}, "'sum', 'mean' or 'none'"),
        ({"alpha": torch.ones(5)}, "one entry for each of 3 classes"),
        ({"labels": torch.zeros(4, dtype=torch.int64)}, r"labels \(R,\)"),
    ],
)
def test_wrong_arguments(change: dict, words: str) -> None:
    arguments = {
        "logits": torch.zeros(6, 3),
        "labels": LABELS,
        "alpha": 0.25,
        "gamma": 2.0,
        "reduction": "sum",
    } | change
    with pytest.raises(ValueError, match=words):
        sigmoid_focal_loss(arguments.pop("logits"), arguments.pop("labels"), **arguments)


@pytest.mark.parametrize(
    ("distance", "beta", "expected"),
    [
        pytest.param(0.5, 1.0, 0.125, id="quadratic: 0.5 * 0.25"),
        pytest.param(2.0, 1.0, 1.5, id="linear: 2 - 0.5"),
        pytest.param(1.0, 1.0, 0.5, id="the corner"),
        pytest.param(0.3, 0.0, 0.3, id="beta 0 is L1"),
        pytest.param(0.0, 0.0, 0.0, id="beta 0 at 0"),
    ],
)
def test_smooth_l1_by_hand(distance: float, beta: float, expected: float) -> None:
    x = torch.tensor([distance], requires_grad=True)
    loss = smooth_l1_loss(x, torch.zeros(1), beta=beta)
    loss.backward()
    assert_close(loss, torch.tensor(expected))
    assert x.grad.isfinite().all()


def test_smooth_l1_is_torchs() -> None:
    a, b = torch.randn(20, 4), torch.randn(20, 4)
    assert_close(smooth_l1_loss(a, b, beta=0.11), F.smooth_l1_loss(a, b, beta=0.11, reduction="sum"))


@pytest.mark.parametrize("name", BOX_LOSSES)
def test_box_losses_vanish_at_the_truth(name: str) -> None:
    anchors = torch.tensor([[10.0, 10, 50, 40], [0, 0, 30, 30]])
    loss = BOX_LOSSES[name](torch.zeros(2, 4), anchors, anchors, weights=(1, 1, 1, 1), beta=0.1)
    assert_close(loss, torch.tensor(0.0), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # squares of side 10, 5 apart in x: IoU 1/3, hull 15 x 10 = 150, union 150
        pytest.param("giou", 1 - 1 / 3, id="giou: hull equals union"),
        # centres 5 apart, diagonal of the hull 15^2 + 10^2 = 325
        pytest.param("diou", 1 - 1 / 3 + 25 / 325, id="diou"),
        pytest.param("ciou", 1 - 1 / 3 + 25 / 325, id="ciou: equal aspect ratios add nothing"),
    ],
)
def test_overlap_losses_by_hand(name: str, expected: float) -> None:
    anchors, targets = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[5.0, 0, 15, 10]])
    loss = BOX_LOSSES[name](torch.zeros(1, 4), anchors, targets, weights=(1, 1, 1, 1), beta=0.0)
    assert_close(loss, torch.tensor(expected))


@pytest.mark.parametrize("name", BOX_LOSSES)
def test_box_losses_without_positives_keep_the_graph(name: str) -> None:
    deltas = torch.zeros(0, 4, requires_grad=True)
    loss = BOX_LOSSES[name](deltas, torch.zeros(0, 4), torch.zeros(0, 4), weights=(1, 1, 1, 1), beta=0.1)
    loss.backward()
    assert_close(loss, torch.tensor(0.0))


@pytest.mark.parametrize("name", BOX_LOSSES)
@pytest.mark.parametrize(
    "target", [[5.0, 5, 5, 5], [5, 5, 30, 5], [400, 400, 410, 410]], ids=["a point", "a line", "far away"]
)
def test_degenerate_targets_give_no_nan(name: str, target: list[float]) -> None:
    deltas, anchors = torch.zeros(1, 4, requires_grad=True), torch.tensor([[0.0, 0, 10, 10]])
    loss = BOX_LOSSES[name](
        deltas, anchors, torch.tensor([target], dtype=torch.float32), weights=(1, 1, 1, 1), beta=0.1
    )
    loss.backward()
    assert loss.isfinite()
    assert deltas.grad.isfinite().all()


@pytest.mark.parametrize("name", ["giou", "diou", "ciou"])
def test_overlap_losses_pull_the_box_to_its_target(name: str) -> None:
    deltas, anchors = torch.zeros(1, 4, requires_grad=True), torch.tensor([[0.0, 0, 10, 10]])
    target, optimizer = torch.tensor([[2.0, 1, 14, 9]]), torch.optim.Adam([deltas], lr=0.01)
    for _ in range(400):
        optimizer.zero_grad()
        BOX_LOSSES[name](deltas, anchors, target, weights=(1, 1, 1, 1), beta=0.0).backward()
        optimizer.step()
    assert_close(decode(deltas.detach(), anchors), target, atol=0.2, rtol=0)


def test_normalizer_averages() -> None:
    average = torch.tensor(INITIAL)
    assert_close(update_normalizer(average, torch.tensor(50.0)), torch.tensor(0.9 * 100 + 0.1 * 50))
    assert_close(update_normalizer(average, torch.tensor(0.0)), torch.tensor(0.9 * 95 + 0.1 * 1))  # none counts as one
