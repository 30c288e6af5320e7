"""Assigners and losses are one graph for compilers and exporters, and work with fake tensors and on
accelerators."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.testing import assert_close

from retina_plugin.layers import tracing
from retina_plugin.losses import INITIAL
from retina_plugin.modeling.anchors import AnchorGenerator
from retina_plugin.modeling.assigners import MaxIoUAssigner
from retina_plugin.modeling.retinanet import RetinaNet
from retina_plugin.modeling.structures import Anchors, Target
from retina_plugin.modeling.targets import PaddedTargets, pad_targets
from tests.models import compact_model

pytestmark = pytest.mark.slow

SIZES = [(64, 96)] * 2


def targets_of(*numbers: int) -> list[Target]:
    """Targets with one image for each given number of boxes."""
    corners = [torch.rand(n, 2) * 40 for n in numbers]
    return [
        {
            "boxes": torch.cat([x, x + 5 + 30 * torch.rand_like(x)], dim=1),
            "labels": torch.randint(3, (len(x),)),
        }
        for x in corners
    ]


def losses_and_gradients(
    model: RetinaNet, run: Callable[..., dict[str, Tensor]], *arguments: Any
) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
    """Losses and gradients of a step that starts with a new average."""
    model.loss_normalizer.fill_(INITIAL)
    losses = run(*arguments)
    return losses, torch.autograd.grad(sum(losses.values()), list(model.parameters()))


class Function(nn.Module):
    """A function as a module, which exporters need."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Training(nn.Module):
    """Training losses as a function of tensors, which exporters need."""

    def __init__(self, model: RetinaNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, boxes: Tensor, labels: Tensor, mask: Tensor) -> dict:
        return self.model(images, SIZES, PaddedTargets(boxes, labels, mask))


@pytest.mark.filterwarnings("ignore")  # torch.jit.trace is deprecated
def test_needs_fixed_shapes() -> None:
    x = torch.zeros(2)
    for tensor in (x, nn.Parameter(x)):
        assert not tracing.needs_fixed_shapes(tensor)
    for tensor in (x.to("meta"), FakeTensorMode().from_tensor(x)):
        assert tracing.needs_fixed_shapes(tensor)

    def answer(x: Tensor) -> Tensor:
        return x + 1 if tracing.needs_fixed_shapes(x) else x

    assert_close(answer(x), x)
    assert_close(torch.compile(answer, backend="eager", fullgraph=True)(x), x + 1)
    assert_close(torch.export.export(Function(answer), (x,)).module()(x), x + 1)
    assert_close(torch.jit.trace(answer, x, check_trace=False)(x), x + 1)


def test_compiled_in_one_graph_for_batches_of_one_padded_size() -> None:
    """Losses, gradients and the average equal those of eager mode; the second batch compiles
    nothing."""
    model, images = compact_model(), torch.randn(2, 3, 64, 96)
    first, second = targets_of(3, 0), targets_of(1, 4)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    expected = losses_and_gradients(model, model, images, SIZES, first)
    average = model.loss_normalizer.clone()
    found = losses_and_gradients(model, compiled, images, SIZES, pad_targets(first, num_boxes=4))
    assert_close(found, expected)
    assert_close(model.loss_normalizer, average)
    with torch.compiler.set_stance("fail_on_recompile"):
        again = losses_and_gradients(
            model, compiled, images, SIZES, pad_targets(second, num_boxes=4)
        )
    assert_close(again, losses_and_gradients(model, model, images, SIZES, second))


def test_compiled_with_a_list_of_targets() -> None:
    """Targets without padding also give one graph. After two batches, the numbers of boxes are
    symbols."""
    model = compact_model().eval()  # which keeps the average
    predictions, anchors = model.predict_dense(torch.randn(2, 3, 64, 96))
    torch._dynamo.reset()
    compiled = torch.compile(model.losses, backend="eager", fullgraph=True)
    for numbers in ((3, 2), (4, 7)):
        compiled(predictions, anchors, targets_of(*numbers))
    targets = targets_of(9, 5)
    with torch.compiler.set_stance("fail_on_recompile"):
        found = compiled(predictions, anchors, targets)
    assert_close(found, model.losses(predictions, anchors, targets))


@pytest.mark.parametrize("way", ["export", "trace"])
@pytest.mark.filterwarnings("ignore")  # torch.jit.trace warns of every shape
def test_exported_losses_have_gradients(way: str) -> None:
    model, targets = compact_model(), pad_targets(targets_of(3, 1))
    batch = torch.randn(2, 3, 64, 96), targets.boxes, targets.labels, targets.mask
    training = Training(model)
    expected = losses_and_gradients(model, training, *batch)
    if way == "export":
        exported = torch.export.export(training, batch).module()
    else:
        exported = torch.jit.trace(training, batch, check_trace=False, strict=False)
    exported.model.loss_normalizer.fill_(INITIAL)
    losses = exported(*batch)
    parameters = [exported.get_parameter(name) for name, _ in training.named_parameters()]
    assert_close((losses, torch.autograd.grad(sum(losses.values()), parameters)), expected)


@pytest.mark.parametrize("alpha", [0.25, [0.2, 0.3, 0.4]], ids=["alpha", "alpha of each class"])
def test_a_step_of_fake_tensors(alpha: float | list[float]) -> None:
    """No value is read. With 256 channels, real tensors would use Winograd convolutions."""
    model = compact_model(MODEL__FPN__OUT_CHANNELS=256, MODEL__RETINANET__FOCAL_LOSS_ALPHA=alpha)
    mode = FakeTensorMode()
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    fake = {name: mode.from_tensor(tensor) for name, tensor in tensors.items()}
    with mode:
        batch = torch.randn(2, 3, 64, 96), SIZES, targets_of(3, 0)
        losses = torch.func.functional_call(model, fake, batch)
        sum(losses.values()).backward()
    assert all(loss.shape == () for loss in losses.values())
    assert all(fake[name].grad.shape == p.shape for name, p in model.named_parameters())


def test_no_value_is_read() -> None:
    """Tensors on the meta device have no values, so reading one is an error."""
    model, images = compact_model().to("meta"), torch.randn(2, 3, 64, 96, device="meta")
    targets = [{k: v.to("meta") for k, v in t.items()} for t in targets_of(3, 0)]
    losses = model(images, SIZES, targets)
    sum(losses.values()).backward()
    assert all(p.grad.shape == p.shape for p in model.parameters())


@pytest.mark.long  # it compiles C++
@pytest.mark.skipif(not shutil.which("g++"), reason="inductor needs a C++ compiler")
def test_inductor_matches_to_the_bit() -> None:
    """Fused kernels keep ties, thresholds and low-quality matches."""
    generator = AnchorGenerator(sizes=[[8, 11]], aspect_ratios=[0.5, 1.0], strides=[8], offset=0.5)
    anchors, assigner = generator([(8, 12)]), MaxIoUAssigner(thresholds=(0.4, 0.5))
    targets = targets_of(12, 0)
    targets[0]["boxes"] = torch.cat([targets[0]["boxes"], anchors.boxes[5:9] / 3 * 3 + 1 / 3])
    targets[0]["labels"] = torch.zeros(16, dtype=torch.int64)
    padded = pad_targets(targets)

    def match(boxes: Tensor, mask: Tensor) -> Tensor:
        parts = Anchors(boxes, *anchors[1:])
        return assigner(parts, PaddedTargets(padded.boxes, padded.labels, mask)).matches

    torch._dynamo.reset()
    found = torch.compile(match, fullgraph=True)(anchors.boxes, padded.mask)
    expected = assigner(anchors, targets).matches
    assert (expected >= 0).any()
    assert_close(found, expected)
