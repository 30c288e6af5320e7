"""Weighted box fusion: by hand, and compared with the authors' package."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from retina_plugin.layers.box_fusion import weighted_box_fusion

A, B, FAR = [0.0, 0, 10, 10], [2.0, 0, 12, 10], [50.0, 50, 60, 60]  # IoU of A and B: 80 / 120


@pytest.mark.parametrize(
    ("boxes", "scores", "groups", "fused", "new_scores"),
    [
        pytest.param(
            [A, B], [0.8, 0.4], [0, 0], [[2 / 3, 0, 10 + 2 / 3, 10]], [0.6],
            id="weights 2 to 1; mean score, because both of 2 views agree",
        ),
        pytest.param([A], [0.8], [0], [A], [0.4], id="one of two views"),
        pytest.param(
            [A, A, A], [0.9, 0.8, 0.4], [0, 0, 0], [A], [0.7],
            id="more boxes than views: the mean",
        ),
        pytest.param(
            [A, FAR], [0.6, 0.8], [0, 0], [FAR, A], [0.4, 0.3], id="apart; the best first"
        ),
        pytest.param([A, B], [0.8, 0.4], [0, 1], [A, B], [0.4, 0.2], id="other classes"),
        pytest.param(
            [A, [4.0, 0, 14, 10]], [0.8, 0.4], [0, 0], [A, [4.0, 0, 14, 10]], [0.4, 0.2],
            id="IoU 60 / 140",
        ),
        pytest.param(
            [A, B, [3.0, 0, 13, 10]], [0.5, 0.5, 0.4], [0, 0, 0],
            [[(0.5 * 0 + 0.5 * 2 + 0.4 * 3) / 1.4, 0, (5 + 6 + 0.4 * 13) / 1.4, 10]], [1.4 / 3],
            id="the third overlaps A too little, but the mean of A and B enough: 80 / 120",
        ),
        pytest.param([A, A], [0.0, 0.0], [0, 0], [A], [0.0], id="scores 0"),
        pytest.param([], [], [], [], [], id="no boxes"),
    ],
)  # fmt: skip
def test_by_hand(boxes: list, scores: list, groups: list, fused: list, new_scores: list) -> None:
    found = weighted_box_fusion(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(scores, dtype=torch.float32),
        torch.tensor(groups, dtype=torch.int64),
        num_views=2,
        iou_threshold=0.55,
    )
    assert_close(found[0], torch.tensor(fused, dtype=torch.float32).reshape(-1, 4))
    assert_close(found[1], torch.tensor(new_scores, dtype=torch.float32))


def test_same_as_ensemble_boxes() -> None:
    reference = pytest.importorskip("ensemble_boxes").weighted_boxes_fusion
    views = []
    for _ in range(4):
        corners = torch.rand(40, 2) * 0.5
        boxes = torch.cat([corners, corners + 0.1 + torch.rand(40, 2) * 0.3], dim=1)
        views.append((boxes.double(), torch.rand(40).double(), torch.randint(0, 3, (40,))))
    boxes, scores, groups = (torch.cat(parts) for parts in zip(*views, strict=True))
    found = weighted_box_fusion(boxes, scores, groups, num_views=4, iou_threshold=0.4)
    theirs = reference(*([values[i].numpy() for values in views] for i in range(3)), iou_thr=0.4)
    order = np.argsort(-theirs[1], kind="stable")
    assert len(order) < 160
    for ours, other in zip(found, theirs, strict=True):
        assert_close(ours.double(), torch.from_numpy(other[order]).double(), rtol=1e-5, atol=1e-6)
