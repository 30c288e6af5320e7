"""Merging of cut objects: by hand, and compared with SAHI."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from retina_plugin.layers.greedy_merge import greedy_merge, overlap_of_smaller

SQUARE, FAR = [0, 0, 10, 10], [50, 50, 60, 60]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        pytest.param(SQUARE, 1.0, id="itself"),
        pytest.param([2, 2, 4, 4], 1.0, id="inside"),
        pytest.param([5, 0, 25, 10], 0.5, id="half of the smaller"),
        pytest.param([5, 0, 10, 40], 0.5, id="half of both: 50 of 100, of 200"),
        pytest.param(FAR, 0.0, id="apart"),
        pytest.param([3, 3, 3, 8], 0.0, id="without area"),
    ],
)
def test_overlap(other: list[float], expected: float) -> None:
    one, two = torch.tensor([[*map(float, SQUARE)]]), torch.tensor([[*map(float, other)]])
    assert_close(overlap_of_smaller(one, two), torch.tensor([[expected]]))
    assert_close(overlap_of_smaller(two, one), torch.tensor([[expected]]))


@pytest.mark.parametrize(
    ("boxes", "groups", "rows", "merged"),
    [
        pytest.param(
            [[0, 0, 60, 10], [30, 0, 100, 10]], [0, 0], [0], [[0, 0, 100, 10]],
            id="two parts of an object: 300 of 600",
        ),
        pytest.param(
            [[0, 0, 60, 10], [31, 0, 100, 10]], [0, 0], [0, 1],
            [[0, 0, 60, 10], [31, 0, 100, 10]], id="too little: 290 of 600",
        ),
        pytest.param(
            [[2, 2, 4, 4], [0, 0, 10, 10]], [0, 0], [0], [[0, 0, 10, 10]],
            id="the better box is inside",
        ),
        pytest.param(
            [[0, 0, 60, 10], [30, 0, 100, 10]], [0, 1], [0, 1],
            [[0, 0, 60, 10], [30, 0, 100, 10]], id="other classes",
        ),
        pytest.param(
            [[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10]], [0, 0, 0], [0, 2],
            [[0, 0, 15, 10], [10, 0, 20, 10]], id="the third overlaps only the second",
        ),
        pytest.param(
            [[0, 0, 10, 10], [0, 0, 40, 10], [5, -100, 10, 10]], [0, 0, 0], [0],
            [[0, 0, 40, 10]],
            id="the third overlaps the first, but too little of the grown box: it is dropped",
        ),
        pytest.param([], [], [], [], id="no boxes"),
    ],
)  # fmt: skip
def test_by_hand(boxes: list, groups: list, rows: list, merged: list) -> None:
    scores = torch.linspace(0.9, 0.5, len(boxes)) if boxes else torch.zeros(0)
    found, grown = greedy_merge(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        scores,
        torch.tensor(groups, dtype=torch.int64),
        threshold=0.5,
        max_kept=10,
    )
    assert found.tolist() == rows
    assert_close(grown, torch.tensor(merged, dtype=torch.float32).reshape(-1, 4))


def crowd(number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    corners = torch.rand(number, 2) * 200
    boxes = torch.cat([corners, corners + 10 + torch.rand(number, 2) * 50], dim=1)
    return boxes, torch.rand(number), torch.randint(0, 3, (number,))


def test_order_and_limit() -> None:
    """The order of the arguments does not matter, and the best boxes do not depend on max_kept."""
    boxes, scores, groups = crowd(80)
    rows, merged = greedy_merge(boxes, scores, groups, threshold=0.5, max_kept=80)
    assert (scores[rows].diff() <= 0).all()
    shuffled = torch.randperm(80)
    again, merged_again = greedy_merge(
        boxes[shuffled], scores[shuffled], groups[shuffled], threshold=0.5, max_kept=5
    )
    assert_close(shuffled[again], rows[:5])
    assert_close(merged_again, merged[:5])


def test_same_as_sahi() -> None:
    combine = pytest.importorskip("sahi.postprocess.combine")
    prediction = pytest.importorskip("sahi.prediction")
    boxes, scores, groups = crowd(80)
    boxes, scores = boxes.double(), scores.double()
    rows, merged = greedy_merge(boxes, scores, groups, threshold=0.5, max_kept=80)
    theirs = combine.GreedyNMMPostprocess(
        match_threshold=0.5, match_metric="IOS", class_agnostic=False
    )(
        [
            prediction.ObjectPrediction(bbox=box, score=score, category_id=group)
            for box, score, group in zip(
                boxes.tolist(), scores.tolist(), groups.tolist(), strict=True
            )
        ]
    )
    theirs.sort(key=lambda found: -found.score.value)
    assert_close(merged, torch.tensor([f.bbox.to_xyxy() for f in theirs]).double())
    assert_close(scores[rows], torch.tensor([f.score.value for f in theirs]).double())
    assert groups[rows].tolist() == [found.category.id for found in theirs]
