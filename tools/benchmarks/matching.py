"""Benchmark the matching of the anchors of an image with its ground-truth boxes, and compare the
assigners."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.testing import assert_close

from benchmarks.measure import Comparison, Work
from retina_plugin.modeling.anchors import AnchorGenerator
from retina_plugin.modeling.assigners import (
    ATSSAssigner,
    MaxIoUAssigner,
    TaskAlignedAssigner,
    match_anchors,
)
from retina_plugin.modeling.box_coders import DeltaCoder
from retina_plugin.modeling.structures import Anchors, Assignment, Predictions

LOW, HIGH, CLASSES = 0.4, 0.5, 80
STRIDES = (8, 16, 32, 64, 128)
Matcher = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def comparisons(args: argparse.Namespace) -> list[Comparison]:
    """Compare the matching of all anchors of an 800x1344 image with 8, 100 and 500 boxes, and the
    assigners."""
    height, width = (96, 128) if args.quick else (800, 1344)
    numbers = (20,) if args.quick else (8, 100, 500)
    return [
        compare(height, width, boxes, args.device)
        for compare in (_comparison, _assigners)
        for boxes in numbers
    ]


def _comparison(height: int, width: int, number: int, device: str) -> Comparison:
    matchers: dict[str, Matcher] = {"retina_plugin": _ours}
    absent = []
    for name, module, matcher in (
        ("Detectron2", "detectron2", _detectron2),
        ("torchvision", "torchvision", _torchvision),
    ):
        if importlib.util.find_spec(module):
            matchers[name] = matcher
        else:
            absent.append(f"{name} is not installed")
    return Comparison(
        f"match, {height}x{width}, {number} boxes, {device}",
        {
            name: partial(_work, matcher, height, width, number, device)
            for name, matcher in matchers.items()
        },
        _check_equal,
        absent,
    )


def _assigners(height: int, width: int, number: int, device: str) -> Comparison:
    """Compare the times of the assigners. Their results differ by design."""
    return Comparison(
        f"assign, {height}x{width}, {number} boxes, {device}",
        {
            name: partial(_assign_work, name, height, width, number, device)
            for name in ("MaxIoUAssigner", "ATSSAssigner", "TaskAlignedAssigner")
        },
        lambda result, expected: assert_close(result.matches.shape, expected.matches.shape),
    )


def _assign_work(name: str, height: int, width: int, number: int, device: str) -> Work:
    coder = DeltaCoder(weights=(1.0, 1.0, 1.0, 1.0))
    assigners: dict[str, Callable[..., Assignment]] = {
        "MaxIoUAssigner": MaxIoUAssigner(thresholds=(LOW, HIGH)),
        "ATSSAssigner": ATSSAssigner(topk=9),
        "TaskAlignedAssigner": TaskAlignedAssigner(topk=13, alpha=1.0, beta=6.0, box_coder=coder),
    }
    anchors, boxes, classes = _scene(height, width, number, device)
    numbers = torch.Generator().manual_seed(1)
    shape = (1, len(anchors.boxes))
    # scores around 0.03, and boxes around the anchors
    logits = torch.randn(*shape, CLASSES, generator=numbers).sub_(4).to(device)
    deltas = (0.1 * torch.randn(*shape, 4, generator=numbers)).to(device)
    targets = [{"boxes": boxes, "labels": classes}]
    return lambda: assigners[name](anchors, targets, Predictions(logits, deltas))


def _work(matcher: Matcher, height: int, width: int, number: int, device: str) -> Work:
    anchors, boxes, classes = _scene(height, width, number, device)
    return lambda: matcher(anchors.boxes, boxes, classes)


def _scene(height: int, width: int, number: int, device: str) -> tuple[Anchors, Tensor, Tensor]:
    """Return the anchors of an image, and the boxes and classes of random objects."""
    sizes = [[4 * stride * 2 ** (i / 3) for i in range(3)] for stride in STRIDES]
    generator = AnchorGenerator(
        sizes=sizes, aspect_ratios=[[0.5, 1.0, 2.0]], strides=STRIDES, offset=0.0
    ).to(device)
    anchors: Anchors = generator([(-(-height // s), -(-width // s)) for s in STRIDES])
    numbers = torch.Generator().manual_seed(0)
    sides = 16 * 2 ** (4 * torch.rand(number, 2, generator=numbers)).clamp(max=height / 32)
    corners = torch.rand(number, 2, generator=numbers) * (torch.tensor([width, height]) - sides)
    boxes = torch.cat([corners, corners + sides], dim=1).to(device)
    classes = torch.randint(CLASSES, (number,), generator=numbers).to(device)
    return anchors, boxes, classes


def _ours(anchors: Tensor, boxes: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    return match_anchors(anchors, boxes, classes, num_classes=CLASSES, thresholds=(LOW, HIGH))


def _detectron2(anchors: Tensor, boxes: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    from detectron2.modeling.matcher import Matcher
    from detectron2.structures import Boxes, pairwise_iou

    matches, flags = Matcher([LOW, HIGH], [0, -1, 1], allow_low_quality_matches=True)(
        pairwise_iou(Boxes(boxes), Boxes(anchors))
    )
    return torch.where(flags == 1, classes[matches], torch.where(flags == 0, CLASSES, -1)), matches


def _torchvision(anchors: Tensor, boxes: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    from torchvision.models.detection._utils import Matcher
    from torchvision.ops import box_iou

    found = Matcher(HIGH, LOW, allow_low_quality_matches=True)(box_iou(boxes, anchors))
    matches = found.clamp(min=0)
    return torch.where(
        found >= 0, classes[matches], torch.where(found == Matcher.BELOW_LOW_THRESHOLD, CLASSES, -1)
    ), matches


def _check_equal(result: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> None:
    assert_close(result[0], expected[0])
    positive = (expected[0] >= 0) & (expected[0] < CLASSES)
    assert_close(result[1][positive], expected[1][positive])
