from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.nn import functional as F
from torch.testing import assert_close

from retina_plugin.layers import winograd
from retina_plugin.layers.norms import Conv2d, build_norm


def direct(
    maps: list[torch.Tensor], weight: torch.Tensor, bias: torch.Tensor | None
) -> list[torch.Tensor]:
    return [F.conv2d(x, weight, bias, padding=1) for x in maps]


def test_one_dimension_by_hand() -> None:
    """The transform matrices in exact arithmetic: four outputs of a filter with three taps over six
    inputs."""
    outputs, kernel, inputs = winograd.matrices()
    d, w = [3, -1, 4, 1, -5, 9], [2, 7, -1]
    u = [sum(g * x for g, x in zip(row, w, strict=True)) for row in kernel]
    v = [sum(b * x for b, x in zip(row, d, strict=True)) for row in inputs]
    y = [sum(a * p * q for a, p, q in zip(row, u, v, strict=True)) for row in outputs]
    assert y == [sum(w[k] * d[i + k] for k in range(3)) for i in range(4)]


@pytest.mark.parametrize("at_once", [1, 3, 1000])
@pytest.mark.parametrize(
    "sizes", [[(4, 4)], [(9, 7)], [(1, 1)], [(13, 8), (5, 6), (2, 3)]], ids=str
)
def test_outputs_and_gradients(
    sizes: list[tuple[int, int]], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes are multiples of the tile or not; there are one or several maps, in one piece or in
    several."""
    monkeypatch.setattr(winograd, "TILES_AT_ONCE", at_once)
    maps = [torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True) for size in sizes]
    weight = torch.randn(5, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(5, dtype=torch.float64, requires_grad=True)
    ours, expected = winograd.conv3x3(maps, weight, bias), direct(maps, weight, bias)
    assert_close(ours, expected)
    directions = [torch.randn_like(y) for y in expected]
    leaves = [weight, bias, *maps]
    assert_close(
        torch.autograd.grad(ours, leaves, directions),
        torch.autograd.grad(expected, leaves, directions),
    )


def test_gradcheck() -> None:
    x = torch.randn(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: winograd.conv3x3([x], w, None)[0], (x, weight))


def test_only_needed_gradients_are_computed() -> None:
    """The input of the first trainable layer needs no gradient; unused outputs count as zero."""
    maps = [torch.randn(1, 2, 4, 4), torch.randn(1, 2, 8, 8)]
    weight = torch.randn(3, 2, 3, 3, requires_grad=True)
    first, _ = winograd.conv3x3(maps, weight, None)
    first.relu_().sum().backward()
    expected = weight.detach().requires_grad_()
    F.conv2d(maps[0], expected, padding=1).relu().sum().backward()
    assert_close(weight.grad, expected.grad)
    assert maps[0].grad is None


def relative_error(found: torch.Tensor, exact: torch.Tensor) -> torch.Tensor:
    return (found - exact).norm() / exact.norm()


@pytest.mark.parametrize("channels", [64, 256])
def test_error_is_close_to_that_of_float32(channels: int) -> None:
    """Compared with float64: outputs within 8 times the error of direct convolution (both near
    1e-6), gradients within 4 times."""
    x = torch.randn(1, channels, 32, 40).relu()
    weight = (torch.randn(64, channels, 3, 3) * (2 / 9 / channels) ** 0.5).requires_grad_()
    exact_weight = weight.detach().double().requires_grad_()
    exact = F.conv2d(x.double(), exact_weight, padding=1)
    direction = torch.randn(exact.shape)
    (exact_gradient,) = torch.autograd.grad(exact, exact_weight, direction.double())
    errors = []
    for y in (winograd.conv3x3([x], weight, None)[0], F.conv2d(x, weight, padding=1)):
        (gradient,) = torch.autograd.grad(y, weight, direction)
        errors.append((relative_error(y, exact), relative_error(gradient, exact_gradient)))
    (outputs, gradients), (direct_outputs, direct_gradients) = errors
    assert outputs < 1.5e-6
    assert outputs < 8 * direct_outputs
    assert gradients < 4 * direct_gradients


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Use Winograd convolutions for any number of channels and tiles; the returned list gets an
    entry for each call."""
    calls: list[int] = []
    for name in ("MIN_CHANNELS", "MIN_TILES", "MIN_TILES_TRAINING"):
        monkeypatch.setattr(winograd, name, 1)
    convolve = winograd._convolve
    monkeypatch.setattr(winograd, "_convolve", lambda *args: calls.append(1) or convolve(*args))
    return calls


@pytest.mark.parametrize(
    ("options", "used"),
    [
        ({}, True),
        ({"stride": 2}, False),
        ({"dilation": 2}, False),
        ({"groups": 2}, False),
        ({"kernel_size": 1}, False),
        ({"kernel_size": 5}, False),
        ({"padding_mode": "reflect"}, False),
    ],
)
@pytest.mark.parametrize("learning", [True, False])
def test_which_convolutions_use_it(
    options: dict, used: bool, learning: bool, counted: list[int]
) -> None:
    layer, x = Conv2d(4, 6, **{"kernel_size": 3, **options}), torch.randn(2, 4, 9, 10)
    with torch.set_grad_enabled(learning):
        y = layer(x)
    assert bool(counted) == (used and torch.backends.mkl.is_available())
    assert_close(y, nn.Conv2d.forward(layer, x))


@pytest.mark.parametrize("learning", [True, False])
def test_a_map_without_a_batch(learning: bool, counted: list[int]) -> None:
    layer, x = Conv2d(4, 6, 3), torch.randn(4, 9, 10)
    with torch.set_grad_enabled(learning):
        assert_close(layer(x), layer(x[None])[0])


def test_other_types_and_autocast_use_direct_convolution(counted: list[int]) -> None:
    layer, x = Conv2d(4, 6, 3), torch.randn(2, 4, 9, 10)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    layer.double()(x.double())
    assert not counted


@pytest.mark.parametrize(
    "first",
    [FakeTensorMode, lambda: torch.device("meta"), torch.inference_mode],
    ids=["fake tensors", "default device", "inference"],
)
def test_modes_leave_no_state(
    first: Callable[[], AbstractContextManager], counted: list[int]
) -> None:
    """Fake tensors, another default device or inference mode may be used before everything else in
    a process."""
    with first():
        layer, x = (
            Conv2d(4, 6, 3, device="cpu"),
            torch.randn(2, 4, 9, 10, device="cpu", requires_grad=True),
        )
        with torch.no_grad():
            assert layer(x).shape == (2, 6, 9, 10)
    layer, x = Conv2d(4, 6, 3), torch.randn(2, 4, 9, 10, requires_grad=True)
    y, expected = layer(x), nn.Conv2d.forward(layer, x)
    assert_close(y, expected)
    assert_close(torch.autograd.grad(y.sum(), x), torch.autograd.grad(expected.sum(), x))


def test_second_derivatives_are_refused() -> None:
    x, weight = (
        torch.randn(1, 2, 5, 6, requires_grad=True),
        torch.randn(3, 2, 3, 3, requires_grad=True),
    )
    y = winograd.conv3x3([x], weight, None)[0]
    (gradient,) = torch.autograd.grad(y.square().sum(), weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


class Exported(nn.Module):
    """A module that contains the layer, so that exporters see its parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = Conv2d(4, 6, 3, norm=build_norm("FrozenBN", 6, groups=1, key="NORM"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


@pytest.mark.slow
@pytest.mark.parametrize("warm", [False, True], ids=["fresh", "after a forward pass"])
@pytest.mark.parametrize("way", ["trace", "export", "compile"])
def test_tracers_see_plain_convolutions(way: str, warm: bool, counted: list[int]) -> None:
    """The recorded graph has one plain convolution with the current parameters, without tensors
    cached before."""
    model, x = Exported().eval(), torch.randn(2, 4, 9, 10)
    with torch.no_grad():
        expected = model(x)
        if not warm:
            model.conv.clear_cache()
        counted.clear()
        if way == "trace":
            recorded = torch.jit.trace(model, x, check_trace=False)
        elif way == "export":
            recorded = torch.export.export(model, (x,)).module()
        else:
            recorded = torch.compile(model, backend="eager", fullgraph=True)
        assert_close(recorded(x), expected, rtol=1e-4, atol=1e-5)
        assert not counted
        if way != "compile":
            for parameter in recorded.state_dict().values():
                parameter.mul_(2)
            assert (recorded(x) - expected).abs().max() > 0.1
