"""Benchmark the class loss, forward and backward, as a training step calls it."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from benchmarks.measure import Comparison, Work
from retina_plugin.losses import sigmoid_focal_loss

ALPHA, GAMMA = 0.25, 2.0
Loss = Callable[[Tensor, Tensor], Tensor]


def comparisons(args: argparse.Namespace) -> list[Comparison]:
    """Compare losses on the anchors of two 480x640 images with COCO's number of classes, and on
    fewer anchors with LVIS's. On a GPU, also compare the loss with a copy of the logits, whose time
    is the limit of the memory's bandwidth."""
    sizes = [(200, 8)] if args.quick else [(2 * 57_600, 80), (20_000, 1203)]
    found = [_comparison(rows, classes, args.device) for rows, classes in sizes]
    if args.device.startswith("cuda"):
        found += [bandwidth(rows, classes, args.device) for rows, classes in sizes]
    return found


def _comparison(rows: int, classes: int, device: str) -> Comparison:
    losses: dict[str, Loss] = {"retina_plugin": _ours}
    absent = []
    if importlib.util.find_spec("fvcore"):
        losses["Detectron2's way (one-hot, fvcore jitted)"] = _detectron2
    else:
        absent.append("fvcore, which Detectron2's way needs, is not installed")
    if importlib.util.find_spec("torchvision"):
        losses["torchvision (one-hot)"] = _torchvision
    else:
        absent.append("torchvision is not installed")
    return Comparison(
        f"loss, R = {rows}, K = {classes}, logits of {4 * rows * classes / 2**20:.1f} MiB, "
        f"{device}",
        {name: partial(_work, loss, rows, classes, device) for name, loss in losses.items()},
        _check_equal,
        absent,
        {"saved / logits": lambda work: f"{saved_bytes(work) / (4 * rows * classes):.2f}"},
    )


def _work(loss: Loss, rows: int, classes: int, device: str) -> Work:
    """Prepare random logits around the prior of an initialized head, and labels: one anchor in 500
    is positive, one in 500 is ignored."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, classes, generator=generator).sub_(4.6).to(device).requires_grad_()
    draw = torch.rand(rows, generator=generator)
    labels = torch.randint(classes, (rows,), generator=generator)
    labels = torch.where(draw < 0.002, labels, torch.where(draw < 0.004, -1, classes)).to(device)

    def work() -> tuple[Tensor, Tensor]:
        logits.grad = None
        value = loss(logits, labels)
        value.backward()  # type: ignore[no-untyped-call]  # torch
        assert logits.grad is not None
        return value.detach(), logits.grad

    return work


def bandwidth(rows: int, classes: int, device: str) -> Comparison:
    """Compare the forward pass, which also computes the derivative, with a copy of the logits:
    both read the logits once and write as many bytes."""
    logits = torch.zeros(rows, classes, device=device, requires_grad=True)
    labels = torch.full((rows,), classes, device=device)
    implementations = {
        "value and derivative": lambda: lambda: _ours(logits, labels),
        "copy of the logits": lambda: lambda: logits.detach().clone(),
    }
    return Comparison(
        f"loss against bandwidth, R = {rows}, K = {classes}, {device}",
        implementations,
        lambda result, expected: None,
    )


def _ours(logits: Tensor, labels: Tensor) -> Tensor:
    return sigmoid_focal_loss(logits, labels, alpha=ALPHA, gamma=GAMMA)


def _one_hot(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    valid = labels >= 0
    targets = F.one_hot(labels[valid], num_classes=logits.shape[1] + 1)[:, :-1]
    return logits[valid], targets.to(logits.dtype)


def _detectron2(logits: Tensor, labels: Tensor) -> Tensor:
    from fvcore.nn import sigmoid_focal_loss_jit

    loss: Tensor = sigmoid_focal_loss_jit(
        *_one_hot(logits, labels), alpha=ALPHA, gamma=GAMMA, reduction="sum"
    )
    return loss


def _torchvision(logits: Tensor, labels: Tensor) -> Tensor:
    from torchvision.ops import sigmoid_focal_loss as theirs

    loss: Tensor = theirs(*_one_hot(logits, labels), alpha=ALPHA, gamma=GAMMA, reduction="sum")
    return loss


def _check_equal(result: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> None:
    assert_close(result[0], expected[0], rtol=1e-4, atol=0)
    assert (result[1] - expected[1]).norm() < 1e-4 * expected[1].norm(), "gradients differ"


def saved_bytes(work: Work) -> int:
    """Return the bytes that autograd saves for the backward pass of one run. Each storage counts
    once; leaf tensors with a gradient, such as parameters, do not count."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not (tensor.is_leaf and tensor.requires_grad):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        work()
    return sum(storages.values())
