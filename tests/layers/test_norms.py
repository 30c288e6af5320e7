"""Frozen batch norms computed by hand, for every way to compute them."""

from __future__ import annotations

import torch
from torch import nn
from torch.testing import assert_close

from retina_plugin.layers.norms import Conv2d, FrozenBatchNorm2d, scale_and_shift


def small_variance() -> FrozenBatchNorm2d:
    """Variance 3e-5 and epsilon 1e-5, so that epsilon counts: (x - 2) / sqrt(4e-5) * 4 + 1."""
    norm = FrozenBatchNorm2d(1)
    for name, value in (("running_mean", 2.0), ("running_var", 3e-5), ("weight", 4.0), ("bias", 1)):
        getattr(norm, name).fill_(value)
    return norm


def test_epsilon_with_gradients() -> None:
    norm, x = small_variance(), torch.tensor([1.0, 2.0, 2.5]).view(1, 1, 1, 3)
    expected = (x - 2) / 4e-5**0.5 * 4 + 1
    assert_close(norm(x), expected)
    assert_close(norm(x.requires_grad_()).detach(), expected)


def test_epsilon_of_a_folded_norm() -> None:
    scale, shift = scale_and_shift(small_variance())
    assert_close(scale, torch.tensor([4 / 4e-5**0.5]))
    assert_close(shift, torch.tensor([1 - 2 * 4 / 4e-5**0.5]))
    layer, x = Conv2d(1, 1, 1, bias=False, norm=small_variance()), torch.tensor([[[[0.0, 1, 2]]]])
    nn.init.ones_(layer.weight)
    expected = (x - 2) / 4e-5**0.5 * 4 + 1
    with torch.no_grad():
        assert_close(layer.eval()(x), expected)
    assert_close(layer(x).detach(), expected)
