"""The whole model on a GPU: losses, gradients and detections equal those of the CPU, and no step
waits for the GPU."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from retina_plugin.modeling.retinanet import RetinaNet
from tests.models import compact_model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

BOXES = torch.tensor([[5.0, 5, 40, 40], [30, 20, 60, 50], [2, 2, 9, 8]])
TARGETS = [
    {"boxes": BOXES, "labels": torch.tensor([0, 1, 2])},
    {"boxes": BOXES[:0], "labels": torch.zeros(0, dtype=torch.int64)},
]


@pytest.fixture(autouse=True)
def full_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable TF32, which would round the products of the GPU to 10 bits."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


def images() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, *size, generator=generator) * 255 for size in [(60, 80), (64, 50)]]


def on(device: str, model: RetinaNet) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Losses and gradients of a copy of the model on a device, returned on the CPU."""
    model = copy.deepcopy(model).to(device)
    targets = [{k: v.to(device) for k, v in target.items()} for target in TARGETS]
    losses = model(*model.preprocess([image.to(device) for image in images()]), targets)
    sum(losses.values()).backward()
    gradients = {name: p.grad.cpu() for name, p in model.named_parameters()}
    return {name: loss.detach().cpu() for name, loss in losses.items()}, gradients


@pytest.mark.parametrize("box_loss", ["smooth_l1", "giou", "ciou"])
def test_losses_and_gradients_are_those_of_the_cpu(box_loss: str) -> None:
    model = compact_model(MODEL__RETINANET__BBOX_REG_LOSS_TYPE=box_loss)
    (losses, gradients), (expected, expected_gradients) = on("cuda", model), on("cpu", model)
    assert_close(losses, expected, rtol=1e-4, atol=1e-6)
    for name, gradient in expected_gradients.items():
        scale = gradient.abs().max().item() + 1e-6
        assert_close(gradients[name] / scale, gradient / scale, rtol=0, atol=1e-3, msg=name)


def test_detections_are_those_of_the_cpu() -> None:
    model = compact_model(MODEL__RETINANET__SCORE_THRESH_TEST=0.0).eval()
    with torch.no_grad():  # spread the scores: those of a new model are all near the prior
        model.head.cls_score.weight.normal_(std=0.5)
    expected = model.predict(images())
    found = model.cuda().predict([image.cuda() for image in images()])
    for gpu, cpu in zip(found, expected, strict=True):
        assert len(cpu["scores"]) > 10
        assert_close(gpu["scores"].cpu(), cpu["scores"], rtol=1e-3, atol=1e-4)


def test_a_training_step_does_not_wait_for_the_gpu() -> None:
    """Targets are already on the GPU, as with a loader with pinned memory."""
    model = compact_model().cuda()
    targets = [{k: v.cuda() for k, v in target.items()} for target in TARGETS]
    batch, sizes = model.preprocess([image.cuda() for image in images()])
    sum(model(batch, sizes, targets).values()).backward()  # the first call compiles kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        sum(model(batch, sizes, targets).values()).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.long
def test_compiled_losses_are_those_of_eager_mode() -> None:
    model = compact_model().cuda()
    targets = [{k: v.cuda() for k, v in target.items()} for target in TARGETS]
    batch, _ = model.preprocess([image.cuda() for image in images()])
    predictions, anchors = model.predict_dense(batch)
    expected = copy.deepcopy(model).losses(predictions, anchors, targets)
    compiled = torch.compile(copy.deepcopy(model).losses, fullgraph=True)
    assert_close(compiled(predictions, anchors, targets), expected, rtol=1e-5, atol=1e-6)
