"""Benchmark the matching of the anchors of an image with its ground-truth boxes."""

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
from retina_plugin.modeling.assigners.max_iou import match_anchors

LOW, HIGH, CLASSES = 0.4, 0.5, 80
STRIDES = (8, 16, 32, 64, 128)
Matcher = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def comparisons(args: argparse.Namespace) -> list[Comparison]:
    """Compare the matching of all anchors of an 800x1344 image with 8, 100 and 500 boxes."""
    height, width = (96, 128) if args.quick else (800, 1344)
    return [
        _comparison(height, width, boxes, args.device)
        for boxes in ((20,) if args.quick else (8, 100, 500))
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


def _work(matcher: Matcher, height: int, width: int, number: int, device: str) -> Work:
    sizes = [[4 * stride * 2 ** (i / 3) for i in range(3)] for stride in STRIDES]
    generator = AnchorGenerator(
        sizes=sizes, aspect_ratios=[[0.5, 1.0, 2.0]], strides=STRIDES, offset=0.0
    )
    grids = [(-(-height // s), -(-width // s)) for s in STRIDES]
    anchors = generator(grids).boxes.to(device)
    numbers = torch.Generator().manual_seed(0)
    sides = 16 * 2 ** (4 * torch.rand(number, 2, generator=numbers)).clamp(max=height / 32)
    corners = torch.rand(number, 2, generator=numbers) * (torch.tensor([width, height]) - sides)
    boxes = torch.cat([corners, corners + sides], dim=1).to(device)
    classes = torch.randint(CLASSES, (number,), generator=numbers).to(device)
    return lambda: matcher(anchors, boxes, classes)


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
