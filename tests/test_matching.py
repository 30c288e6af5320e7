"""Anchors are unit rows on a line, so that every IoU can be read off."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from retina_plugin import matching
from retina_plugin.boxes import pairwise_iou
from retina_plugin.matching import match_anchors

K = 5


def spans(*pairs: tuple[float, float]) -> torch.Tensor:
    """Boxes of height 10 that reach from x0 to x1."""
    return torch.tensor([[a, 0.0, b, 10.0] for a, b in pairs]).reshape(-1, 4)


def match(anchors: torch.Tensor, boxes: torch.Tensor, classes: list[int], thresholds: tuple[float, float] = (0.4, 0.5)):
    return match_anchors(anchors, boxes, torch.tensor(classes, dtype=torch.int64), num_classes=K, thresholds=thresholds)


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
    """A first anchor equals the box, so that no other is its best."""
    labels, matches = match(spans((0, 10), anchor), spans((0, 10)), [3])
    assert labels.tolist() == [3, expected]
    assert matches.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("anchors", "boxes", "classes", "labels", "matches"),
    [
        pytest.param([(0, 10), (20, 30)], [], [], [K, K], [0, 0], id="no boxes: all background"),
        pytest.param(
            [(0, 40), (20, 60)], [(0, 10)], [2], [2, K], [0, 0], id="low-quality match: the best anchor, IoU 0.25"
        ),
        pytest.param([(0, 40), (-30, 10)], [(0, 10)], [2], [2, 2], [0, 0], id="low-quality match: a tie gives both"),
        pytest.param([(0, 10)], [(5, 5)], [2], [K], [0], id="a box of zero area claims nothing"),
        pytest.param([(0, 10)], [(50, 60)], [2], [K], [0], id="a box that no anchor overlaps claims nothing"),
        # anchor 0 is the best anchor of box 1 (IoU 0.1) and overlaps box 0 more (0.9): it answers for box 0
        pytest.param([(0, 10)], [(0, 9), (9, 10)], [1, 4], [1], [0], id="a claimed anchor keeps its own best box"),
        pytest.param([(0, 10)], [(0, 10), (0, 10)], [1, 4], [1], [0], id="equal boxes: the first"),
    ],
)
def test_pictures(anchors: list, boxes: list, classes: list[int], labels: list[int], matches: list[int]) -> None:
    found_labels, found_matches = match(spans(*anchors), spans(*boxes), classes)
    assert found_labels.tolist() == labels
    assert found_matches.tolist() == matches


def plain(anchors: torch.Tensor, boxes: torch.Tensor, classes: torch.Tensor, low: float, high: float):
    """The rule of the docstring, with the whole matrix at once."""
    iou = pairwise_iou(boxes, anchors)
    overlap, matches = iou.max(dim=0)
    best = iou.max(dim=1, keepdim=True).values
    claimed = ((iou == best) & (best > 0)).any(dim=0)
    labels = torch.full_like(matches, -1)
    labels[overlap < low] = K
    positive = (overlap >= high) | claimed
    labels[positive] = classes[matches[positive]]
    return labels, matches


coordinate = st.integers(0, 12)


@settings(deadline=None, max_examples=60)
@given(
    anchors=st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), min_size=1, max_size=40),
    boxes=st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), min_size=1, max_size=6),
    chunk=st.integers(1, 64),
)
def test_chunks_change_nothing(anchors: list, boxes: list, chunk: int) -> None:
    """Small integer coordinates make ties, empty boxes and equal boxes common."""

    def ordered(rows: list) -> torch.Tensor:
        table = torch.tensor(rows, dtype=torch.float32)
        return torch.cat([torch.min(table[:, :2], table[:, 2:]), torch.max(table[:, :2], table[:, 2:])], dim=1)

    grid, truth, classes = ordered(anchors), ordered(boxes), torch.arange(len(boxes)) % K
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "GROUP_ELEMENTS", {"cpu": chunk})
        found = match_anchors(grid, truth, classes, num_classes=K, thresholds=(0.4, 0.5))
    expected = plain(grid, truth, classes, 0.4, 0.5)
    assert_close(found[0], expected[0])
    assert_close(found[1], expected[1])
