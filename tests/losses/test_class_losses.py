"""Class losses: each equals its formula, and the previous one at the limit; gradients are right,
finite and need little memory."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from fvcore.nn import sigmoid_focal_loss as fvcore_focal_loss
from torch.nn import functional as F
from torch.testing import assert_close

from retina_plugin.losses import (
    CLASS_LOSSES,
    balanced_cross_entropy,
    chunked,
    sigmoid_cross_entropy,
    sigmoid_focal_loss,
    sigmoid_focal_star_loss,
)

GAMMAS = [0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]
LABELS = torch.tensor([0, 2, 3, -1, 3, 1])  # K = 3: classes 0 to 2, background 3, ignored -1
BOTH = pytest.mark.usefixtures("both_forms")
VARIANTS = [pytest.param(part.loss, id=name) for name, part in CLASS_LOSSES.items()]


def one_hot(labels: torch.Tensor, k: int) -> torch.Tensor:
    return F.one_hot(labels.clamp(min=0), k + 1)[:, :k].double()


def p_t(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    p = logits.double().sigmoid()
    return torch.where(one_hot(labels, logits.shape[1]) > 0, p, 1 - p)


def weights(logits: torch.Tensor, labels: torch.Tensor, alpha: float) -> torch.Tensor:
    """alpha_t, and 0 for ignored rows."""
    return (
        torch.where(one_hot(labels, logits.shape[1]) > 0, alpha, 1 - alpha) * (labels >= 0)[:, None]
    )


def focal_formula(
    logits: torch.Tensor, labels: torch.Tensor, alpha: float, gamma: float
) -> torch.Tensor:
    """-alpha_t (1 - p_t)^gamma log p_t in float64."""
    right = p_t(logits, labels)
    return -weights(logits, labels, alpha) * (1 - right) ** gamma * right.log()


@BOTH
@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("elements", [1, 7, 2**17], ids="pieces of {}".format)
def test_focal_is_its_formula(gamma: float, elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(chunked.CHUNK_ELEMENTS, "cpu", elements)
    logits = torch.randn(6, 3, dtype=torch.float64) * 3
    expected = focal_formula(logits, LABELS, 0.25, gamma)
    assert_close(
        sigmoid_focal_loss(logits, LABELS, alpha=0.25, gamma=gamma, reduction="none"), expected
    )
    assert_close(sigmoid_focal_loss(logits, LABELS, alpha=0.25, gamma=gamma), expected.sum())
    assert_close(
        sigmoid_focal_loss(logits, LABELS, alpha=0.25, gamma=gamma, reduction="mean"),
        expected.mean(),
    )


@BOTH
@pytest.mark.parametrize("gamma", [0.5, 2.0, 4.0])
def test_focal_star_is_its_formula(gamma: float) -> None:
    """-alpha_t log sigmoid(gamma x_t + 1) / gamma."""
    logits = torch.randn(6, 3, dtype=torch.float64) * 3
    x_t = torch.where(one_hot(LABELS, 3) > 0, logits, -logits)
    expected = -weights(logits, LABELS, 0.25) * F.logsigmoid(gamma * x_t + 1) / gamma
    assert_close(
        sigmoid_focal_star_loss(logits, LABELS, alpha=0.25, gamma=gamma, reduction="none"), expected
    )


@BOTH
def test_each_loss_equals_the_previous_one_at_its_limit() -> None:
    logits = torch.randn(6, 3, dtype=torch.float64) * 3
    cross_entropy = sigmoid_cross_entropy(logits, LABELS)
    balanced = balanced_cross_entropy(logits, LABELS, alpha=0.3)
    assert_close(
        cross_entropy,
        F.binary_cross_entropy(
            p_t(logits, LABELS),
            torch.ones(6, 3).double(),
            (LABELS >= 0)[:, None].double(),
            reduction="sum",
        ),
    )
    assert_close(balanced_cross_entropy(logits, LABELS, alpha=0.5), cross_entropy / 2)
    assert_close(balanced_cross_entropy(logits, LABELS, alpha=-1.0), cross_entropy)
    assert_close(sigmoid_focal_loss(logits, LABELS, alpha=0.3, gamma=0.0), balanced)


@BOTH
@pytest.mark.parametrize("loss", VARIANTS)
@pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
def test_gradcheck(loss: Callable[..., torch.Tensor], reduction: str) -> None:
    logits = (torch.randn(6, 3, dtype=torch.float64) * 3).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: loss(x, LABELS, alpha=0.25, gamma=1.5, reduction=reduction), logits
    )


@BOTH
@pytest.mark.parametrize("gamma", GAMMAS)
def test_gradcheck_of_every_gamma(gamma: float) -> None:
    logits = (torch.randn(6, 3, dtype=torch.float64) * 3).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: sigmoid_focal_loss(x, LABELS, alpha=0.25, gamma=gamma), logits
    )


@BOTH
def test_gamma_0_is_weighted_bce_in_value_and_gradient() -> None:
    logits = (torch.randn(6, 3) * 5).requires_grad_()
    weight = weights(logits, LABELS, 0.25).float()
    bce = F.binary_cross_entropy_with_logits(
        logits, one_hot(LABELS, 3).float(), weight=weight, reduction="sum"
    )
    own = sigmoid_focal_loss(logits, LABELS, alpha=0.25, gamma=0.0)
    assert_close(own, bce)
    assert_close(torch.autograd.grad(own, logits), torch.autograd.grad(bce, logits))


@BOTH
@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("logit", [-200.0, -20.0, 0.0, 20.0, 200.0])
@pytest.mark.parametrize("label", [0, 1], ids=["positive", "negative"])
def test_finite_at_saturated_logits(gamma: float, logit: float, label: int) -> None:
    logits = torch.full((1, 1), logit, requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.tensor([label]), alpha=0.25, gamma=gamma)
    loss.backward()
    wrong = (logit < 0) == (label == 0)
    assert loss.isfinite()
    assert logits.grad.isfinite().all()
    if abs(logit) == 200:
        # by the logit of 1 - p_t, the derivative of -log p_t is 1 at p_t = 0 and 0 at p_t = 1
        weight = 0.25 if label == 0 else 0.75
        expected = math.copysign(weight, logit) if wrong else 0.0
        assert_close(logits.grad, torch.tensor([[expected]]), atol=1e-6, rtol=1e-6)
        assert_close(loss, torch.tensor(200 * weight if wrong else 0.0))


@BOTH
@pytest.mark.parametrize("loss", VARIANTS)
def test_nan_is_not_hidden(loss: Callable[..., torch.Tensor]) -> None:
    logits = torch.tensor([[math.nan], [1.0]], requires_grad=True)
    value = loss(logits, torch.tensor([1, 1]), alpha=0.25, gamma=2.0)
    value.backward()
    assert value.isnan()
    assert logits.grad.isnan().tolist() == [[True], [False]]


@BOTH
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_float32_gradients_are_nearer_to_float64_than_fvcores(gamma: float) -> None:
    """For positives and negatives from certain and right to certain and wrong: in the norm, and
    relative to each derivative."""
    logits = torch.linspace(-12, 12, 2001)[:, None].repeat(2, 1)
    labels = torch.arange(2).repeat_interleave(2001)

    def gradient(loss: Callable[[torch.Tensor], torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
        x = logits.to(dtype).requires_grad_()
        return torch.autograd.grad(loss(x), x)[0].double()

    def own(x: torch.Tensor) -> torch.Tensor:
        return sigmoid_focal_loss(x, labels, alpha=0.25, gamma=gamma)

    def theirs(x: torch.Tensor) -> torch.Tensor:
        return fvcore_focal_loss(
            x, (labels == 0).to(x)[:, None], alpha=0.25, gamma=gamma, reduction="sum"
        )

    exact, found, reference = (
        gradient(f, d)
        for f, d in ((own, torch.float64), (own, torch.float32), (theirs, torch.float32))
    )
    assert (found - exact).norm() < (reference - exact).norm()
    found, reference = (((x - exact) / exact)[exact != 0].abs().max() for x in (found, reference))
    assert found < 1e-6
    assert reference > 1e-4  # 1 - p_t has no correct digits where p_t is near 1


@BOTH
@pytest.mark.parametrize(
    ("alpha", "silent"),
    [(0.0, [0, 1]), (1.0, [2, 4])],
    ids=["alpha 0: positives", "alpha 1: negatives"],
)
def test_alpha_0_or_1_removes_positives_or_negatives(alpha: float, silent: list[int]) -> None:
    """K = 1: rows 0 and 1 are positives, rows 2 and 4 negatives, row 3 ignored."""
    logits, labels = torch.randn(5, 1), torch.tensor([0, 0, 1, -1, 1])
    losses = sigmoid_focal_loss(logits, labels, alpha=alpha, gamma=2.0, reduction="none")[:, 0]
    assert (losses[silent] == 0).all()
    assert (losses[[i for i in (0, 1, 2, 4) if i not in silent]] > 0).all()


@BOTH
@pytest.mark.parametrize("loss", [balanced_cross_entropy, sigmoid_focal_loss])
def test_alpha_per_class_and_background(loss: Callable[..., torch.Tensor]) -> None:
    """Positives of class k have weight alpha_k and its negatives 1 - alpha_k. Background has no
    weight; it is a negative of every class."""
    logits, alpha = (
        torch.randn(6, 3, dtype=torch.float64),
        torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64),
    )
    own = loss(logits, LABELS, alpha=alpha, gamma=2.0, reduction="none")
    columns = [
        loss(logits, LABELS, alpha=float(a), gamma=2.0, reduction="none")[:, k]
        for k, a in enumerate(alpha)
    ]
    assert_close(own, torch.stack(columns, dim=1))
    assert_close(loss(logits, LABELS, alpha=alpha, gamma=2.0), own.sum())


@BOTH
def test_ignored_rows_may_hold_anything() -> None:
    logits = torch.zeros(3, 2, requires_grad=True)
    rows = logits + torch.tensor([[0.0], [math.nan], [math.inf]])
    loss = sigmoid_focal_loss(rows, torch.tensor([2, -1, -1]), alpha=0.25, gamma=0.0)
    loss.backward()
    assert_close(loss, torch.tensor(2 * 0.75 * math.log(2)))
    assert_close(logits.grad, torch.tensor([[0.375, 0.375], [0, 0], [0, 0]]))


@BOTH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    logits = (torch.randn(6, 3) * 8).to(dtype).requires_grad_()
    loss = sigmoid_focal_loss(logits, LABELS, alpha=0.25, gamma=2.0)
    loss.backward()
    assert loss.dtype == torch.float32
    assert logits.grad.dtype == dtype
    assert_close(
        loss.double(), focal_formula(logits.detach(), LABELS, 0.25, 2.0).sum(), rtol=1e-5, atol=1e-6
    )


@BOTH
def test_small_derivatives_survive_float16_when_the_loss_is_scaled() -> None:
    """At a score of 0.01 the derivative is 2e-6, which float16 without scaling would round to 1
    part in 40."""
    logits = torch.full((1, 1), math.log(0.01 / 0.99), dtype=torch.float16, requires_grad=True)
    (sigmoid_focal_loss(logits, torch.tensor([1]), alpha=0.25, gamma=2.0) * 2.0**16).backward()
    exact = logits.detach().double().requires_grad_()
    (sigmoid_focal_loss(exact, torch.tensor([1]), alpha=0.25, gamma=2.0) * 2.0**16).backward()
    assert_close(logits.grad.double(), exact.grad, rtol=1e-3, atol=0)


@BOTH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_autocast(dtype: torch.dtype) -> None:
    """With half-precision logits, the loss has full precision and its gradient equals the
    formula."""
    x, layer = torch.randn(6, 4), torch.nn.Linear(4, 3)
    with torch.autocast("cpu", dtype=dtype):
        logits = layer(x)
        loss = sigmoid_focal_loss(logits, LABELS, alpha=0.25, gamma=2.0)
    assert logits.dtype == dtype
    assert_close(
        loss.double(), focal_formula(logits, LABELS, 0.25, 2.0).sum(), rtol=1e-5, atol=1e-6
    )
    found = torch.autograd.grad(loss, layer.weight)[0]
    expected = torch.autograd.grad(
        sigmoid_focal_loss(layer(x), LABELS, alpha=0.25, gamma=2.0), layer.weight
    )[0]
    assert_close(found, expected, rtol=0.05, atol=0.01)


@BOTH
@pytest.mark.parametrize("loss", VARIANTS)
@pytest.mark.parametrize(
    ("labels", "num_classes"),
    [([], 4), ([-1, -1], 4), ([0, 0], 0)],
    ids=["no anchors", "all ignored", "no classes"],
)
def test_the_loss_without_examples_is_0_and_has_a_gradient(
    loss: Callable[..., torch.Tensor], labels: list, num_classes: int
) -> None:
    logits = torch.randn(len(labels), num_classes, requires_grad=True)
    value = loss(logits, torch.tensor(labels, dtype=torch.int64), alpha=0.25, gamma=2.0)
    value.backward()
    assert_close(value, torch.tensor(0.0))
    assert_close(logits.grad, torch.zeros_like(logits))


@BOTH
def test_no_subnormal_gradients() -> None:
    # p^3 falls from 1 to 1e-78
    logits = torch.linspace(-60, 60, 400)[:, None].repeat(2, 1).requires_grad_()
    sigmoid_focal_loss(
        logits, torch.arange(2).repeat_interleave(400), alpha=0.25, gamma=2.0
    ).backward()
    sizes = logits.grad.abs()
    assert (sizes == 0).any()
    assert sizes[sizes > 0].min() >= torch.finfo(torch.float32).tiny


@pytest.mark.parametrize("loss", VARIANTS)
def test_one_tensor_is_kept_for_backward(loss: Callable[..., torch.Tensor]) -> None:
    """Only the derivative is saved, which has the size of the logits; Detectron2's loss saves eight
    such tensors."""
    logits, saved = torch.randn(100, 80, requires_grad=True), []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: saved.append(x.nbytes) or x, lambda x: x
    ):
        loss(logits, torch.full((100,), 80), alpha=0.25, gamma=2.0)
    assert sum(saved) == logits.nbytes


def test_backward_needs_no_second_tensor() -> None:
    logits, saved = torch.randn(100, 80, requires_grad=True), []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: saved.append(x.data_ptr()) or x, lambda x: x
    ):
        loss = sigmoid_focal_loss(logits, torch.full((100,), 80), alpha=0.25, gamma=2.0)
    (gradient,) = torch.autograd.grad(loss / 7, logits)
    assert [gradient.data_ptr()] == saved


@pytest.mark.parametrize("moved", [False, True], ids=["kept in place", "kept elsewhere"])
def test_backward_twice_through_a_retained_graph(moved: bool) -> None:
    logits = torch.randn(6, 3, requires_grad=True)
    elsewhere = torch.autograd.graph.saved_tensors_hooks(
        lambda x: x.clone() if moved else x, lambda x: x.clone() if moved else x
    )
    with elsewhere:
        loss = sigmoid_focal_loss(logits, LABELS, alpha=0.25, gamma=2.0)
    first, second, third = (
        torch.autograd.grad(loss, logits, torch.tensor(factor), retain_graph=True)[0]
        for factor in (0.5, 3.0, 0.0)
    )
    (alone,) = torch.autograd.grad(
        sigmoid_focal_loss(logits, LABELS, alpha=0.25, gamma=2.0), logits
    )
    assert_close((first, second, third), (0.5 * alone, 3 * alone, 0 * alone))


def test_backward_after_a_gradient_of_0_is_an_error() -> None:
    logits = torch.randn(6, 3, requires_grad=True)
    loss = sigmoid_focal_loss(logits, LABELS, alpha=0.25, gamma=2.0)
    torch.autograd.grad(loss, logits, torch.tensor(0.0), retain_graph=True)
    with pytest.raises(RuntimeError, match=r"gradient 0.0: compute the loss again"):
        torch.autograd.grad(loss, logits)


def test_backward_after_a_change_of_the_gradient_is_an_error() -> None:
    logits = torch.randn(6, 3, requires_grad=True)
    loss = sigmoid_focal_loss(logits, LABELS, alpha=0.25, gamma=2.0)
    torch.autograd.grad(loss, logits, retain_graph=True)[0].zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(loss, logits)


@BOTH
def test_gradients_accumulate() -> None:
    logits = torch.randn(6, 3, requires_grad=True)
    for _ in range(2):
        sigmoid_focal_loss(logits, LABELS, alpha=0.25, gamma=2.0).backward()
    (alone,) = torch.autograd.grad(
        sigmoid_focal_loss(logits, LABELS, alpha=0.25, gamma=2.0), logits
    )
    assert_close(logits.grad, 2 * alone)


def test_a_second_derivative_is_refused() -> None:
    logits = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return sigmoid_focal_loss(x, LABELS, alpha=0.25, gamma=2.0)

    with pytest.raises(
        RuntimeError,
        match=r"no second derivative: call .* without "
        r"create_graph=True",
    ):
        torch.autograd.grad(loss(logits), logits, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.gradgradcheck(loss, logits)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_results_do_not_depend_on_the_number_of_threads(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(chunked.CHUNK_ELEMENTS, "cpu", 50)
    logits, labels = torch.randn(200, 3, requires_grad=True), torch.randint(-1, 4, (200,))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        loss = sigmoid_focal_loss(logits, labels, alpha=0.25, gamma=2.0)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert_close(
        loss.double(), focal_formula(logits.detach(), labels, 0.25, 2.0).sum(), rtol=1e-5, atol=0
    )


@pytest.mark.slow
@pytest.mark.parametrize("loss", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_compiled_code_gives_the_same(
    loss: Callable[..., torch.Tensor], dtype: torch.dtype
) -> None:
    """The code is one graph. Inputs include those for which plain autograd gives NaN, and class
    weights."""
    alpha = torch.tensor([0.2, 0.5, 0.9])

    def step(x: torch.Tensor) -> torch.Tensor:
        return loss(2 * x, LABELS, alpha=alpha, gamma=0.5) / 3

    logits = (torch.randn(6, 3) * 3).to(dtype)
    logits[:2] = torch.tensor([[-200.0], [200.0]])
    logits.requires_grad_()
    torch._dynamo.reset()
    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    found, expected = compiled(logits), step(logits)
    assert_close(found, expected)
    assert_close(torch.autograd.grad(found, logits), torch.autograd.grad(expected, logits))


@BOTH
def test_arguments_are_not_modified() -> None:
    logits, labels, alpha = torch.randn(6, 3, requires_grad=True), LABELS.clone(), torch.rand(3)
    before = logits.detach().clone(), labels.clone(), alpha.clone()
    sigmoid_focal_loss(logits, labels, alpha=alpha, gamma=2.0).backward()
    assert_close((logits.detach(), labels, alpha), before, rtol=0, atol=0)


@BOTH
@pytest.mark.parametrize("layout", ["transposed", "every second row", "channels of an image"])
def test_logits_of_any_layout(layout: str) -> None:
    logits = {
        "transposed": torch.randn(3, 6).T,
        "every second row": torch.randn(12, 3)[::2],
        "channels of an image": torch.randn(1, 3, 2, 3).permute(0, 2, 3, 1).reshape(6, 3),
    }[layout].requires_grad_()
    plain = logits.detach().clone().contiguous().requires_grad_()
    for x in (logits, plain):
        sigmoid_focal_loss(x, LABELS, alpha=0.25, gamma=2.0).backward()
    assert_close(logits.grad, plain.grad, check_stride=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gamma": -1.0}, "gamma must be at least 0"),
        ({"gamma": math.nan}, "gamma must be at least 0"),
        ({"reduction": "avg"}, "'sum', 'mean' or 'none'"),
        ({"alpha": torch.ones(5)}, "one entry for each of 3 classes"),
        ({"alpha": 1.5}, "at most 1"),
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


def test_weights_of_classes_have_bounds() -> None:
    for alpha in ([0.2, -1.0, 0.3], [0.2, 1.5, 0.3], [0.2, math.nan, 0.3]):
        with pytest.raises(
            ValueError,
            match=r"alpha of each class must lie in \[0, 1\], found "
            r"\[0.2",
        ):
            sigmoid_focal_loss(torch.zeros(6, 3), LABELS, alpha=torch.tensor(alpha), gamma=2.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.uint8, torch.int32])
def test_labels_are_int64(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=r"labels must be int64, found .*labels.long\(\)"):
        sigmoid_focal_loss(torch.zeros(6, 3), LABELS.to(dtype), alpha=0.25, gamma=2.0)


def test_focal_star_needs_a_gamma() -> None:
    with pytest.raises(ValueError, match=r"above 0.*balanced_ce"):
        sigmoid_focal_star_loss(torch.zeros(6, 3), LABELS, alpha=0.25, gamma=0.0)


@BOTH
def test_names_of_class_losses() -> None:
    names = ["ce", "balanced_ce", "focal", "focal_star", "quality_focal", "varifocal"]
    assert list(CLASS_LOSSES) == names
    with pytest.raises(KeyError, match="Nearest: focal"):
        CLASS_LOSSES.get("focus")
