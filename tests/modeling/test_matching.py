"""Matching of anchors and boxes on a line, so that every IoU can be computed by hand."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from retina_plugin.layers.boxes import pairwise_iou
from retina_plugin.modeling.anchors import AnchorGenerator
from retina_plugin.modeling.assigners import dense, tiles
from retina_plugin.modeling.assigners.max_iou import match_anchors

K = 5
pytestmark = pytest.mark.usefixtures("both_forms")


def spans(*pairs: tuple[float, float]) -> torch.Tensor:
    """Boxes of height 10 that reach from x0 to x1."""
    return torch.tensor([[a, 0.0, b, 10.0] for a, b in pairs]).reshape(-1, 4)


def match(
    anchors: torch.Tensor,
    boxes: torch.Tensor,
    classes: list[int],
    thresholds: tuple[float, float] = (0.4, 0.5),
):
    return match_anchors(
        anchors,
        boxes,
        torch.tensor(classes, dtype=torch.int64),
        num_classes=K,
        thresholds=thresholds,
    )


@pytest.mark.parametrize(
    ("anchor", "expected"),
    [
        pytest.param((0, 10), 3, id="the box itself"),
        pytest.param((0, 20), 3, id="IoU 0.5, exactly the upper threshold"),
        pytest.param((0, 22), -1, id="IoU 0.45, between"),
        pytest.param((0, 25), -1, id="IoU 0.4, exactly the lower threshold"),
        pytest.param((0, 30), K, id="IoU 0.33, below"),
        pytest.param((50, 60), K, id="no overlap"),
    ],
)
def test_thresholds(anchor: tuple[float, float], expected: int) -> None:
    """The first anchor equals the box, so no other anchor is its best one."""
    labels, matches = match(spans((0, 10), anchor), spans((0, 10)), [3])
    assert labels.tolist() == [3, expected]
    assert matches.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("anchors", "boxes", "classes", "labels", "matches"),
    [
        pytest.param([(0, 10), (20, 30)], [], [], [K, K], [0, 0], id="no boxes: all background"),
        pytest.param(
            [(0, 40), (20, 60)],
            [(0, 10)],
            [2],
            [2, K],
            [0, 0],
            id="low-quality match: the best anchor, IoU 0.25",
        ),
        pytest.param(
            [(0, 40), (-30, 10)],
            [(0, 10)],
            [2],
            [2, 2],
            [0, 0],
            id="low-quality match: a tie gives both",
        ),
        pytest.param([(0, 10)], [(5, 5)], [2], [K], [0], id="a box of zero area gets no anchor"),
        pytest.param(
            [(0, 10)], [(50, 60)], [2], [K], [0], id="a box without an overlapping anchor gets none"
        ),
        # both are in one tile that the box overlaps, but neither anchor overlaps the box
        pytest.param(
            [(0, 10), (90, 100)],
            [(40, 50)],
            [2],
            [K, K],
            [0, 0],
            id="a box between two anchors, both of IoU 0, gets none",
        ),
        # anchor 0 is the best anchor of box 1 (IoU 0.1) and overlaps box 0 more (0.9): it learns
        # box 0
        pytest.param(
            [(0, 10)],
            [(0, 9), (9, 10)],
            [1, 4],
            [1],
            [0],
            id="the best anchor of one box keeps the box that it overlaps most",
        ),
        pytest.param([(0, 10)], [(0, 10), (0, 10)], [1, 4], [1], [0], id="equal boxes: the first"),
    ],
)
def test_by_hand(
    anchors: list, boxes: list, classes: list[int], labels: list[int], matches: list[int]
) -> None:
    found_labels, found_matches = match(spans(*anchors), spans(*boxes), classes)
    assert found_labels.tolist() == labels
    assert found_matches.tolist() == matches


def plain(
    anchors: torch.Tensor, boxes: torch.Tensor, classes: torch.Tensor, low: float, high: float
):
    """The rule of the docstring, applied to the whole IoU matrix at once."""
    iou = pairwise_iou(boxes, anchors)
    overlap, matches = iou.max(dim=0)
    best = iou.max(dim=1, keepdim=True).values
    claimed = ((iou == best) & (best > 0)).any(dim=0)
    labels = torch.full_like(matches, -1)
    labels[overlap < low] = K
    positive = (overlap >= high) | claimed
    labels[positive] = classes[matches[positive]]
    return labels, matches


def assert_like_plain(anchors: torch.Tensor, boxes: torch.Tensor) -> None:
    classes = torch.arange(len(boxes)) % K
    found = match_anchors(anchors, boxes, classes, num_classes=K, thresholds=(0.4, 0.5))
    for ours, expected in zip(found, plain(anchors, boxes, classes, 0.4, 0.5), strict=True):
        assert_close(ours, expected)


def ordered(rows: list) -> torch.Tensor:
    """Order any two corners as XYXY."""
    table = torch.tensor(rows, dtype=torch.float32)
    return torch.cat(
        [torch.min(table[:, :2], table[:, 2:]), torch.max(table[:, :2], table[:, 2:])], dim=1
    )


@contextlib.contextmanager
def pieces_of(tile: int, part: int, elements: int) -> Iterator[None]:
    """Tiles of ``tile`` anchors, parts of ``part`` tiles, groups of ``elements`` overlaps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "TILE", tile)
        patch.setattr(tiles, "PART_TILES", part)
        patch.setattr(tiles, "GROUP_ELEMENTS", elements)
        patch.setattr(dense, "PART_OVERLAPS", elements)
        yield


coordinate = st.integers(0, 12)
corners = st.tuples(coordinate, coordinate, coordinate, coordinate)
sizes = st.tuples(st.integers(1, 9), st.integers(1, 5), st.integers(1, 64))


@settings(deadline=None, max_examples=100)
@given(
    anchors=st.lists(corners, min_size=1, max_size=40),
    boxes=st.lists(corners, min_size=1, max_size=6),
    pieces=sizes,
)
def test_any_anchors_in_any_pieces(
    anchors: list, boxes: list, pieces: tuple[int, int, int]
) -> None:
    """With small integer coordinates, ties, empty boxes and equal boxes are frequent."""
    with pieces_of(*pieces):
        assert_like_plain(ordered(anchors), ordered(boxes))


@pytest.mark.slow
@settings(deadline=None, max_examples=50)
@given(
    boxes=st.lists(st.tuples(*[st.integers(-20, 140)] * 4), min_size=1, max_size=30),
    scale=st.sampled_from([0.5, 1.0, 1 / 3]),
    offset=st.sampled_from([0.0, 0.5]),
    pieces=sizes,
)
def test_grids_of_three_levels(
    boxes: list, scale: float, offset: float, pieces: tuple[int, int, int]
) -> None:
    """Boxes on and off the grid, some outside the image; with thirds of pixels, overlaps differ
    only in the last digit."""
    generator = AnchorGenerator(
        sizes=[[8, 11], [16, 22], [32, 45]],
        aspect_ratios=[0.5, 1.0, 2.0],
        strides=[8, 16, 32],
        offset=offset,
    )
    with pieces_of(*pieces):
        assert_like_plain(generator([(12, 16), (6, 8), (3, 4)]).boxes, scale * ordered(boxes))


@pytest.mark.parametrize("order", ["grid", "shuffled"])
@pytest.mark.parametrize("num_boxes", [1, 40])
def test_a_pyramid_in_pieces_of_the_usual_size(order: str, num_boxes: int) -> None:
    """More anchors than one piece has, on several threads."""
    generator = AnchorGenerator(
        sizes=[[8, 11], [16, 22]], aspect_ratios=[0.5, 1.0, 2.0], strides=[4, 8], offset=0.0
    )
    anchors = generator([(80, 100), (40, 50)]).boxes
    anchors = anchors[torch.randperm(len(anchors))] if order == "shuffled" else anchors
    assert len(anchors) > tiles.PART_TILES * tiles.TILE
    boxes = torch.rand(num_boxes, 4) * torch.tensor([360, 280, 60, 60])
    boxes[:, 2:] += boxes[:, :2]
    assert_like_plain(anchors, boxes)


def test_boxes_and_classes_of_other_types() -> None:
    """Types that NumPy gives: float64 boxes, int32 classes."""
    anchors, boxes = (
        torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]]),
        torch.tensor([[0, 0, 10, 9]]),
    )
    labels, matches = match_anchors(
        anchors,
        boxes.double(),
        torch.tensor([2], dtype=torch.int32),
        num_classes=3,
        thresholds=(0.4, 0.5),
    )
    assert_close(labels, torch.tensor([2, 3]))
    assert_close(matches, torch.tensor([0, 0]))


def test_no_anchors() -> None:
    labels, matches = match(torch.zeros(0, 4), spans((0, 10)), [1])
    assert labels.shape == matches.shape == (0,)
    assert labels.dtype == matches.dtype == torch.int64


def test_memory_does_not_grow_with_the_number_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Size of the largest tensor for 20 000 anchors and 400 boxes, whose full IoU matrix would have
    8 million entries."""
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            for x in result if isinstance(result, (tuple, list)) else [result]:
                largest = max(largest, x.numel() if isinstance(x, torch.Tensor) else 0)
            return result

    monkeypatch.setattr(dense, "PART_OVERLAPS", 2**17)
    anchors = torch.rand(20_000, 4) * 100
    anchors[:, 2:] += anchors[:, :2]
    boxes = anchors[torch.randperm(20_000)[:400]]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # this mode sees only its own thread
    with Watch():
        match(anchors, boxes, [0] * 400)
    torch.set_num_threads(threads)
    assert 20_000 <= largest <= 2**18
