"""Soft-NMS by hand, by its definition, and compared with the package ensemble-boxes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from retina_plugin.layers.nms import batched_nms
from retina_plugin.layers.soft_nms import TABLE_BOXES, soft_nms

# a square and two halves of it: IoU 0.5 with the square, 1/3 with each other; and a distant box
SQUARE, LOWER, LEFT, FAR = (0, 0, 10, 10), (0, 0, 10, 5), (0, 0, 5, 10), (50, 50, 60, 60)
OPTIONS = {"method": "gaussian", "iou_threshold": 0.5, "sigma": 0.5, "min_score": 0, "max_kept": 9}


def run(boxes: list, scores: list, groups: list, **changes: Any) -> tuple[list[int], Tensor]:
    rows, new = soft_nms(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(scores, dtype=torch.float32),
        torch.tensor(groups, dtype=torch.int64),
        **{**OPTIONS, **changes},
    )
    return rows.tolist(), new


@pytest.mark.parametrize(
    ("boxes", "scores", "groups", "changes", "rows", "expected"),
    [
        pytest.param(
            [SQUARE, LOWER, FAR], [0.9, 0.8, 0.3], [0, 0, 0], {},
            [0, 1, 2], [0.9, 0.8 * math.exp(-0.5), 0.3], id="gaussian: exp(-0.25 / 0.5)",
        ),
        pytest.param(
            [SQUARE, LOWER, LEFT], [0.9, 0.8, 0.7], [0, 0, 0], {},
            [0, 1, 2],
            [0.9, 0.8 * math.exp(-0.5), 0.7 * math.exp(-0.5) * math.exp(-2 / 9)],
            id="the third box is lowered twice",
        ),
        pytest.param(
            [SQUARE, LOWER, FAR], [0.9, 0.8, 0.6], [0, 0, 0], {},
            [0, 2, 1], [0.9, 0.6, 0.8 * math.exp(-0.5)], id="the order is that of new scores",
        ),
        pytest.param(
            [SQUARE, LOWER], [0.9, 0.8], [0, 0], {"method": "linear"},
            [0, 1], [0.9, 0.4], id="linear: 1 - IoU at the threshold",
        ),
        pytest.param(
            [SQUARE, LOWER], [0.9, 0.8], [0, 0], {"method": "linear", "iou_threshold": 0.51},
            [0, 1], [0.9, 0.8], id="linear: unchanged below the threshold",
        ),
        pytest.param(
            [SQUARE, LOWER], [0.9, 0.8], [0, 1], {}, [0, 1], [0.9, 0.8], id="other classes",
        ),
        pytest.param(
            [SQUARE, SQUARE], [0.9, 0.8], [0, 0], {"method": "linear", "min_score": 0.001},
            [0], [0.9], id="a copy gets 0 and is dropped",
        ),
        pytest.param(
            [SQUARE, LOWER], [0.9, 0.8], [0, 0], {"min_score": 0.5}, [0], [0.9], id="min_score",
        ),
        pytest.param(
            [SQUARE, LOWER, FAR], [0.9, 0.8, 0.6], [0, 0, 0], {"max_kept": 2},
            [0, 2], [0.9, 0.6], id="max_kept: the best new scores",
        ),
        pytest.param(
            [SQUARE] * 8 + [FAR], [0.9] * 8 + [0.5], [0] * 9, {"max_kept": 2},
            [0, 8], [0.9, 0.5], id="a box behind the first 4 * max_kept comes before their copies",
        ),
        pytest.param(
            [SQUARE] * 4 + [FAR], [0.9] * 4 + [0.5], [0] * 5, {"max_kept": 0},
            [], [], id="max_kept 0",
        ),
        pytest.param([], [], [], {}, [], [], id="no boxes"),
        pytest.param([SQUARE] * 3, [0.0] * 3, [0] * 3, {}, [0, 1, 2], [0.0] * 3, id="scores 0"),
    ],
)  # fmt: skip
def test_by_hand(
    boxes: list, scores: list, groups: list, changes: dict, rows: list[int], expected: list[float]
) -> None:
    found, new = run(boxes, scores, groups, **changes)
    assert found == rows
    assert_close(new, torch.tensor(expected))


def crowd(number: int) -> tuple[Tensor, Tensor, Tensor]:
    corners = torch.rand(number, 2) * 0.5
    boxes = torch.cat([corners, corners + 0.1 + torch.rand(number, 2) * 0.3], dim=1)
    return boxes, torch.rand(number), torch.randint(0, 3, (number,))


def test_a_tiny_sigma_is_nms_of_every_overlap() -> None:
    boxes, scores, groups = crowd(60)
    options = {**OPTIONS, "sigma": 1e-9, "min_score": 1e-3, "max_kept": 60}
    rows, _ = soft_nms(boxes, scores, groups, **options)
    assert rows.tolist() == batched_nms(boxes, scores, groups, 0.0).tolist()


def test_first_boxes_do_not_depend_on_max_kept() -> None:
    boxes, scores, groups = crowd(60)
    rows, new = soft_nms(boxes, scores, groups, **{**OPTIONS, "max_kept": 60})
    some, scores_of_some = soft_nms(boxes, scores, groups, **{**OPTIONS, "max_kept": 7})
    assert_close(some, rows[:7])
    assert_close(scores_of_some, new[:7])
    assert sorted(rows.tolist()) == list(range(60))
    assert (new.diff() <= 0).all()


@pytest.mark.parametrize("method", ["linear", "gaussian"])
def test_many_boxes_without_a_table_of_their_factors(method: str) -> None:
    """The first boxes are those of a small ``max_kept``, which uses the table."""
    boxes, scores, groups = crowd(TABLE_BOXES + 200)
    options = {**OPTIONS, "method": method}
    rows, new = soft_nms(boxes, scores, groups, **{**options, "max_kept": TABLE_BOXES})
    some, scores_of_some = soft_nms(boxes, scores, groups, **{**options, "max_kept": 20})
    assert_close(some, rows[:20])
    assert_close(scores_of_some, new[:20])


@pytest.mark.parametrize(("method", "number"), [("linear", 1), ("gaussian", 2)])
def test_same_as_ensemble_boxes(method: str, number: int) -> None:
    """The package's function for one class sorts the scores in place, and returns the rows."""
    reference = pytest.importorskip("ensemble_boxes.ensemble_boxes_nms").cpu_soft_nms_float
    boxes, scores, _ = crowd(80)
    boxes, scores, groups = boxes.double(), scores.double(), torch.zeros(80, dtype=torch.int64)
    rows, new = soft_nms(
        boxes, scores, groups,
        method=method, iou_threshold=0.4, sigma=0.5, min_score=0.01, max_kept=80,
    )  # fmt: skip
    sorted_scores = scores.numpy().copy()
    kept = reference(boxes.numpy(), sorted_scores, 0.4, 0.5, 0.01, number)
    assert rows.tolist() == kept.tolist()
    assert_close(new, torch.from_numpy(sorted_scores[sorted_scores > 0.01]))
