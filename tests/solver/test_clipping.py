"""Gradient clipping, compared with values computed by hand."""

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from retina_plugin.config import CfgNode
from retina_plugin.solver import clip_before_steps, clip_gradients
from tests.solver.configs import cfg_of


def clipping_of(**keys: object) -> CfgNode:
    """The node ``SOLVER.CLIP_GRADIENTS`` with ``keys``, enabled by default."""
    keys = {"ENABLED": True, **keys}
    return cfg_of(**{f"CLIP_GRADIENTS__{k}": v for k, v in keys.items()}).SOLVER.CLIP_GRADIENTS


@pytest.mark.parametrize(
    ("kind", "norm", "expected"),
    [
        ("value", 2.0, [[1.0, 1.0], [0.5, -1.0]]),
        ("norm", 2.0, [[0.6, 0.8], [0.5 / math.hypot(0.5, 2), -2 / math.hypot(0.5, 2)]]),
        ("norm", 1.0, [[3 / 7, 4 / 7], [0.2, -0.8]]),
    ],
)
def test_each_gradient_is_clipped_on_its_own(kind: str, norm: float, expected: list) -> None:
    clipping = clipping_of(CLIP_TYPE=kind, NORM_TYPE=norm)
    parameters = [nn.Parameter(torch.zeros(2)) for _ in range(3)]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 4.0]), torch.tensor([0.5, -2.0])
    clip_gradients(torch.optim.SGD(parameters), clipping)
    assert_close(
        torch.stack([p.grad for p in parameters[:2]]), torch.tensor(expected), rtol=1e-5, atol=1e-5
    )
    assert parameters[2].grad is None


@pytest.mark.parametrize("norm", [1.0, 2.0, 3.0])
def test_norms_are_clipped_as_by_pytorch(norm: float) -> None:
    """Every bit is equal, also for gradients that are 0, not finite, or not contiguous."""
    values = [torch.randn(3, 4), torch.zeros(2), torch.full((2,), math.nan), torch.randn(1) * 1e-3]
    values += [torch.randn(2, 3, 3, 3).to(memory_format=torch.channels_last), torch.tensor(7.0)]
    found, expected = ([torch.nn.Parameter(v.clone()) for v in values] for _ in range(2))
    for parameter, other, value in zip(found, expected, values, strict=True):
        parameter.grad, other.grad = value.clone(), value.clone()
        torch.nn.utils.clip_grad_norm_(other, 0.5, norm)
    without = torch.nn.Parameter(torch.zeros(2))
    clip_gradients(
        torch.optim.SGD([*found, without]),
        clipping_of(CLIP_TYPE="norm", NORM_TYPE=norm, CLIP_VALUE=0.5),
    )
    assert without.grad is None
    for parameter, other in zip(found, expected, strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=0, atol=0, equal_nan=True)


def test_unknown_clipping() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))])
    with pytest.raises(ValueError, match="CLIP_TYPE must be value or norm, found 'full_model'"):
        clip_gradients(optimizer, clipping_of(CLIP_TYPE="full_model"))


@pytest.mark.parametrize(("enabled", "expected"), [(True, -0.5), (False, -3.0)])
@pytest.mark.parametrize("scale", [1.0, 1024.0])
def test_gradients_are_clipped_before_each_step(
    enabled: bool, expected: float, scale: float
) -> None:
    """This also holds with a scaled loss: the scaler unscales gradients before they are clipped."""
    parameter = nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    clip_before_steps(optimizer, clipping_of(ENABLED=enabled, CLIP_VALUE=0.5))
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    for step in (1, 2):
        optimizer.zero_grad()
        scaler.scale(3.0 * parameter).backward()
        scaler.step(optimizer)
        scaler.update()
        assert_close(parameter.item(), step * expected)
