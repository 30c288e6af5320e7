"""Positive anchors of ATSS in a plan: on paper, and as the assigner chooses them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from retina_plugin.engine.plan import positive_anchors
from retina_plugin.engine.plan.anchors import AnchorShapes
from retina_plugin.engine.plan.input_size import InputSize
from retina_plugin.engine.plan.positive_anchors import candidates, positive_overlaps
from retina_plugin.engine.plan.pyramid import default_anchors
from retina_plugin.engine.plan.reached_boxes import measure_reached
from retina_plugin.layers.boxes import pairwise_iou
from retina_plugin.modeling.anchors import AnchorGenerator
from retina_plugin.modeling.assigners import ATSSAssigner
from tests.engine.plan.profiles import profile

ONE = AnchorShapes((8,), ((16.0,),), ((1.0,),))
TWO = AnchorShapes((8, 16), ((16.0,), (32.0,)), ((1.0, 4.0),) * 2)


def test_candidates_on_paper() -> None:
    """A box a quarter of a cell right of and above the centre of a cell."""
    found = candidates(torch.tensor([[0.25, -0.25]]), TWO, topk=1)
    centres, sides = (found[..., :2] + found[..., 2:]) / 2, found[..., 2:] - found[..., :2]
    assert centres.tolist() == [[[-2, 2], [-2, 2], [-4, 4], [-4, 4]]]
    assert sides.tolist() == [[[16, 16], [8, 32], [32, 32], [16, 64]]]


def test_one_candidate_is_positive_where_the_box_contains_its_centre() -> None:
    boxes = np.array([[16.0, 16], [32, 32], [0.5, 0.5]])
    found = positive_overlaps(boxes, ONE, topk=1)
    assert found.shape == (3, 4)
    assert (found[0] >= 144 / 368).all()  # at the worst place, as of the best anchor
    assert_allclose(found[1], 0.25)
    assert (found[2] == 0).any()  # no centre is inside, so no anchor is positive


def test_many_boxes_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = np.full((50, 2), 20.0)
    whole = positive_overlaps(boxes, TWO, topk=9)
    monkeypatch.setattr(positive_anchors, "CHUNK", 7)
    assert_allclose(positive_overlaps(boxes, TWO, topk=9), whole)
    monkeypatch.setattr(positive_anchors, "MAX_BOXES", 49)
    assert positive_overlaps(boxes, TWO, topk=9).shape == (50, 1)


@pytest.mark.parametrize("topk", [1, 4, 9, 20])
def test_as_the_assigner(topk: int) -> None:
    """Boxes of 10 x 30 to 40 x 30 on a level of 16 x 16 cells, one in each image."""
    shapes = AnchorShapes((8,), ((12.0, 24.0),), ((1.0, 2.0),))
    anchors = AnchorGenerator(
        sizes=[[12.0, 24.0]], aspect_ratios=[[1.0, 2.0]], strides=[8], offset=0.5
    )([(16, 16)])
    sides = np.array([[10.0, 30], [20, 30], [30, 30], [40, 30]])
    generator = torch.Generator().manual_seed(0)
    positions = torch.rand(16, 2, generator=generator) - 0.5  # as in positive_overlaps
    expected = []
    for side, position in zip(np.repeat(sides, 4, axis=0), positions, strict=True):
        centre, half = (8.5 + position) * 8, torch.tensor(side).float() / 2
        box = torch.cat([centre - half, centre + half])[None]
        target = {"boxes": box, "labels": torch.zeros(1, dtype=torch.int64)}
        positive = ATSSAssigner(topk=topk)(anchors, [target]).matches[0] == 0
        iou = pairwise_iou(box, anchors.boxes[positive]).mean()
        expected.append(iou.nan_to_num().item())  # 0 if none is positive
    assert_allclose(positive_overlaps(sides, shapes, topk=topk).ravel(), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("given", "side", "name"),
    [
        ({}, 60.0, "ATSSAssigner"),
        ({}, 2.0, "MaxIoUAssigner"),  # a box of 2 pixels rarely contains the centre of a cell
        ({"MODEL.RETINA_PLUGIN.ASSIGNER.NAME": "ATSSAssigner"}, 2.0, "ATSSAssigner"),
        ({"MODEL.RETINANET.IOU_THRESHOLDS": [0.2, 0.3]}, 60.0, "MaxIoUAssigner"),
    ],
)
def test_the_assigner_and_what_it_reaches(given: dict[str, Any], side: float, name: str) -> None:
    data, size = profile(objects=[(side, side)]), InputSize(480, 640, 0, "")
    planned = AnchorShapes((16,), ((side,),), ((1.0,),))
    found = measure_reached(data, size, default=default_anchors(), planned=planned, given=given)
    assert found.assigner.value == name
    columns = [column.name for column in found.columns]
    if name == "ATSSAssigner":
        assert columns == ["positive", "default", "plan"]
        assert "of the boxes get positive anchors, with a mean IoU of" in found.summary
        share, iou = found.columns[0].values, found.columns[2].values
        assert ((share > 0) == (iou > 0)).all()
        assert share.mean() == 1 if side > 16 else share.mean() < 0.1
    else:
        assert columns == ["default", "plan"]
        assert f"an anchor with IoU {0.3 if given else 0.5} (mean over classes)" in found.summary
