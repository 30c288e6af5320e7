"""The functions of the figures: values that can be verified on paper, and derivatives that match
the values."""

import math

import pytest
import torch
from torch.testing import assert_close

from retina_plugin.losses import cross_entropy_terms, derivatives, focal_star_terms, focal_terms

VARIANTS = [
    pytest.param(cross_entropy_terms, 0.0, id="cross entropy"),
    *(pytest.param(focal_terms, gamma, id=f"focal {gamma}") for gamma in (0.0, 0.5, 1.0, 2.0, 5.0)),
    pytest.param(focal_star_terms, 2.0, id="focal star"),
]


@pytest.mark.parametrize(
    ("q", "gamma", "expected"),
    [
        pytest.param(0.5, 0.0, math.log(2), id="cross entropy at one half"),
        pytest.param(0.1, 2.0, 0.81 * math.log(10), id="hard: a factor of 0.81"),
        pytest.param(0.9, 2.0, 0.01 * -math.log(0.9), id="easy: a hundredth"),
        pytest.param(0.9, 1.0, 0.1 * -math.log(0.9), id="easy, gamma 1: a tenth"),
    ],
)
def test_values_by_hand(q: float, gamma: float, expected: float) -> None:
    q = torch.tensor(q, dtype=torch.float64)
    assert_close(derivatives.value(q, focal_terms, gamma=gamma).item(), expected)
    assert_close(derivatives.value(q, focal_terms, gamma=gamma, alpha=0.25).item(), 0.25 * expected)


def test_the_worked_example_of_imbalance() -> None:
    """100 000 easy examples of loss 0.1 against 100 hard ones of 2.3: 43 to 1 under cross entropy,
    below 1 under focal loss."""
    easy, hard = torch.tensor([0.1, 2.3], dtype=torch.float64).neg().exp()  # q for a given loss

    def ratio(gamma: float) -> float:
        loss = [derivatives.value(q, focal_terms, gamma=gamma).item() for q in (easy, hard)]
        return 100_000 * loss[0] / (100 * loss[1])

    assert round(ratio(0.0)) == 43
    assert ratio(2.0) < 1
    assert [ratio(g) for g in (0.0, 0.5, 1.0, 2.0, 5.0)] == sorted(
        (ratio(g) for g in (0.0, 0.5, 1.0, 2.0, 5.0)), reverse=True
    )


@pytest.mark.parametrize(("terms", "gamma"), VARIANTS)
def test_derivatives_are_those_of_the_value(terms, gamma: float) -> None:
    x = torch.linspace(-8, 8, 33, dtype=torch.float64, requires_grad=True)
    q = x.detach().sigmoid().requires_grad_()
    (by_q,) = torch.autograd.grad(derivatives.value(q, terms, gamma=gamma, alpha=0.25).sum(), q)
    (by_logit,) = torch.autograd.grad(
        derivatives.value(x.sigmoid(), terms, gamma=gamma, alpha=0.25).sum(), x
    )
    assert_close(derivatives.by_q(q.detach(), terms, gamma=gamma, alpha=0.25), by_q)
    assert_close(derivatives.by_logit(x.detach(), terms, gamma=gamma, alpha=0.25), by_logit)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_the_formulas_of_the_docstrings(gamma: float) -> None:
    q = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    expected = (1 - q) ** gamma * (gamma * q.log() / (1 - q) - 1 / q)
    assert_close(derivatives.by_q(q, focal_terms, gamma=gamma), expected)
    by_logit = (1 - q) ** gamma * (gamma * q * q.log() + q - 1)
    assert_close(derivatives.by_logit(q.logit(), focal_terms, gamma=gamma), by_logit)


@pytest.mark.parametrize(("terms", "gamma"), VARIANTS)
def test_bounded_by_the_logit_and_not_by_q(terms, gamma: float) -> None:
    """Near q = 0 the derivative by q grows like 1 / q; the one by the logit is never steeper than
    1.5."""
    q = torch.tensor([1e-3, 1e-6, 1e-9], dtype=torch.float64)
    if terms is not focal_star_terms:  # its q* is not 0 at q = 0
        assert (derivatives.by_q(q, terms, gamma=gamma) * q).abs().min() > 0.9
    steep = derivatives.by_logit(
        torch.linspace(-300, 300, 6001, dtype=torch.float64), terms, gamma=gamma
    )
    assert steep.isfinite().all()
    assert (steep <= 0).all()
    assert steep.min() > -1.5
