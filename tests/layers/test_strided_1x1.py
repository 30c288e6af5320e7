"""The backward pass of strided 1x1 convolutions with few channels, which crashes torch 2.14 on
CPUs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from retina_plugin.layers.norms import Conv2d
from retina_plugin.modeling.backbones import TimmBackbone

CHILD = """
import sys, torch
from retina_plugin.modeling.backbones import TimmBackbone
from retina_plugin.layers.norms import Conv2d
torch.set_num_threads(1)
for name in sys.argv[1].split():
    model = TimmBackbone(name=name, in_channels=3, drop_path=0, freeze_at=0, freeze_norms=False)
    model = model.to(memory_format=torch.channels_last)
    images = torch.randn(1, 3, 256, 256).to(memory_format=torch.channels_last)
    sum(x.sum() for x in model(images).values()).backward()
for channels in map(int, sys.argv[2:]):
    layer = Conv2d(channels, 64, 1, stride=2).to(memory_format=torch.channels_last)
    for height, width in ((16, 200), (256, 200), (200, 64)):
        x = torch.randn(1, channels, height, width).to(memory_format=torch.channels_last)
        layer(x.requires_grad_()).sum().backward()
print("alive")
"""


@pytest.mark.long
def test_the_process_does_not_crash() -> None:
    """The test uses a child process, because a crash would end this one. Models of timm have such
    convolutions."""
    models = "mobileone_s0 gernet_s" if importlib.util.find_spec("timm") else ""
    channels = [str(number) for number in (3, 4, 8, 12, 15)]
    result = subprocess.run(
        [sys.executable, "-c", CHILD, models, *channels],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (result.returncode, result.stdout) == (0, "alive\n"), result.stderr


@pytest.mark.parametrize("channels", [1, 4, 12, 15, 16])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [(8, 10), (7, 9), (1, 1)])
@pytest.mark.parametrize("stride", [2, 3])
def test_values_and_gradients(
    channels: int, bias: bool, size: tuple[int, int], stride: int
) -> None:
    """Values and gradients equal those of the plain convolution, in a memory format in which its
    backward pass works."""
    layer = Conv2d(channels, 6, 1, stride=stride, bias=bias)
    x = torch.randn(1, channels, *size, requires_grad=True)
    leaves = [x, *layer.parameters()]
    expected = F.conv2d(x, layer.weight, layer.bias, stride=stride)
    direction = torch.randn_like(expected)
    channels_last = layer(x.to(memory_format=torch.channels_last))
    assert_close(channels_last, expected)
    ours, theirs = (torch.autograd.grad(y, leaves, direction) for y in (channels_last, expected))
    assert_close(ours, theirs)
    with torch.no_grad():
        assert_close(layer(x), expected)


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("timm"), reason="needs timm")
def test_values_of_a_timm_model() -> None:
    import timm

    ours = TimmBackbone(
        name="mobileone_s0", in_channels=3, drop_path=0, freeze_at=0, freeze_norms=False
    ).eval()
    theirs = timm.create_model("mobileone_s0", features_only=True).eval()
    theirs.load_state_dict(ours.model.state_dict())
    image = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        assert_close(list(ours.model(image)), list(theirs(image)), rtol=1e-4, atol=1e-5)
