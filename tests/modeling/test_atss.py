"""ATSS: candidates and positives by hand, and against the algorithm on whole matrices."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from retina_plugin.layers.boxes import pairwise_iou
from retina_plugin.modeling.anchors import AnchorGenerator
from retina_plugin.modeling.assigners import ATSSAssigner
from retina_plugin.modeling.assigners.atss import select_by_iou
from retina_plugin.modeling.assigners.candidates import closest_anchors
from retina_plugin.modeling.structures import BACKGROUND, Anchors, Target
from retina_plugin.modeling.targets import pad_targets
from tests.forms import FORMS, in_form
from tests.models import compact_model

BOTH = pytest.mark.usefixtures("both_forms")


def grid(
    *sizes: tuple[int, int], ratios: tuple[float, ...] = (1.0,), offset: float = 0.5
) -> Anchors:
    """Anchors of levels of strides 8, 16, ...; the area is 4 x 4 strides."""
    strides = [8 * 2**i for i in range(len(sizes))]
    generator = AnchorGenerator(
        sizes=[[4.0 * s] for s in strides], aspect_ratios=[ratios], strides=strides, offset=offset
    )
    return generator(sizes)


def target(*boxes: tuple[float, float, float, float]) -> Target:
    return {
        "boxes": torch.tensor(boxes).reshape(-1, 4),
        "labels": torch.zeros(len(boxes), dtype=torch.int64),
    }


def random_target(number: int, size: float = 120) -> Target:
    corners = torch.rand(number, 2) * size
    return target(*torch.cat([corners, corners + 4 + torch.rand(number, 2) * 60], dim=1).tolist())


def plain(anchors: Anchors, boxes: Tensor, topk: int) -> Tensor:
    """Algorithm 1 of the paper on the matrices of all pairs: the matches of one image (R,)."""
    matches = torch.full((len(anchors.boxes),), BACKGROUND)
    highest = torch.zeros(len(anchors.boxes))
    centres = (anchors.boxes[:, :2] + anchors.boxes[:, 2:]) / 2
    iou = pairwise_iou(boxes, anchors.boxes)
    for number, box in enumerate(boxes):
        distances = (centres - (box[:2] + box[2:]) / 2).norm(dim=1)
        parts = torch.arange(len(centres)).split(list(anchors.counts))
        candidates = torch.cat(
            [p[distances[p].argsort(stable=True)[: topk * anchors.per_cell]] for p in parts]
        )
        found = iou[number, candidates]
        threshold = found.mean() + found.std()
        inside = ((centres > box[:2] + 0.01) & (centres < box[2:] - 0.01)).all(dim=1)
        for row in candidates[(found >= threshold) & inside[candidates]].tolist():
            if iou[number, row] > highest[row]:
                highest[row], matches[row] = iou[number, row], number
    return matches


@BOTH
def test_one_box_by_hand() -> None:
    """A row of five cells of 8 pixels, anchors of 32 pixels, and a box that equals anchor 2. The
    IoUs are 1, 3/5, 1/3 by distance 0, 1 and 2: the mean of the three closest is 0.733 and the
    standard deviation 0.231."""
    anchors = grid((1, 5))
    assert anchors.boxes[2].tolist() == [4, -12, 36, 20]
    assigner = ATSSAssigner(topk=3)
    assert assigner(anchors, [target((4, -12, 36, 20))]).matches.tolist() == [[-1, -1, 0, -1, -1]]


@BOTH
def test_the_centre_must_lie_inside() -> None:
    """Both candidates have the same IoU, so it is the threshold. The box contains the centre of
    only one of them."""
    anchors = grid((1, 2))  # centres at x = 4 and 12
    assigner = ATSSAssigner(topk=9)
    assert assigner(anchors, [target((0, 0, 16, 8))]).matches.tolist() == [[0, 0]]
    assert assigner(anchors, [target((0, 0, 12.005, 8))]).matches.tolist() == [[0, -1]]


@BOTH
def test_equal_ious_are_the_threshold() -> None:
    """All candidates lie in the box, so their IoUs are equal. For some sizes of the box, the mean
    of the nine numbers is rounded upwards."""
    anchors, assigner = grid((9, 9)), ATSSAssigner(topk=9)  # centres at 4, 12, ..., 68
    for size in torch.linspace(33, 120, 60).tolist():
        box = (36 - size, 36 - size, 36 + size, 36 + size)
        assert int((assigner(anchors, [target(box)]).matches == 0).sum()) == 9


@BOTH
def test_half_of_the_candidates_share_the_highest_iou() -> None:
    """The candidates of two levels lie in the box, 9 with an IoU of 32 x 32 / 200^2, and 9 of four
    times as much. The mean plus the standard deviation is above both."""
    box = target((-64, -64, 136, 136))
    assert (ATSSAssigner(topk=9)(grid((9, 9), (5, 5)), [box]).matches == BACKGROUND).all()


@BOTH
@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        pytest.param([], [-1], id="no boxes"),
        pytest.param([(1, 1, 8, 8)], [0], id="one candidate has its own IoU as threshold"),
        pytest.param([(4, 4, 4, 4)], [-1], id="a box without area"),
        pytest.param([(5, 5, 8, 8)], [-1], id="no centre inside"),
        pytest.param([(1, 1, 8, 8), (0, 0, 9, 9)], [1], id="two boxes: the higher IoU"),
        pytest.param([(0, 0, 8, 8), (0, 0, 8, 8)], [0], id="equal boxes: the first"),
    ],
)
def test_one_anchor(boxes: list, expected: list[int]) -> None:
    assert ATSSAssigner(topk=9)(grid((1, 1)), [target(*boxes)]).matches.tolist() == [expected]


@BOTH
def test_no_anchors_and_a_level_without_anchors() -> None:
    assigner, boxes = ATSSAssigner(topk=9), [random_target(3, 10)]
    assert assigner(grid((0, 0)), boxes).matches.shape == (1, 0)
    found = [assigner(anchors, boxes).matches for anchors in (grid((2, 2), (0, 0)), grid((2, 2)))]
    assert_close(*found)
    assert (found[0] >= 0).any()


def test_unknown_grids_are_an_error() -> None:
    anchors = grid((2, 2))._replace(grid_sizes=())
    with pytest.raises(ValueError, match=r"rows and columns of 1 levels in Anchors\.grid_sizes"):
        ATSSAssigner(topk=9)(anchors, [target((0, 0, 8, 8))])


@BOTH
@pytest.mark.parametrize("ratios", [(1.0,), (0.5, 1.0, 2.0)], ids=["A = 1", "A = 3"])
@pytest.mark.parametrize("topk", [1, 4, 9])
def test_like_the_algorithm_on_whole_matrices(ratios: tuple[float, ...], topk: int) -> None:
    """The last levels have fewer cells than a box has candidates."""
    anchors = grid((20, 22), (10, 11), (5, 6), (2, 2), (1, 1), ratios=ratios)
    targets = [random_target(30), random_target(0), random_target(1)]
    found = ATSSAssigner(topk=topk)(anchors, targets)
    assert (found.quality, found.box_weights) == (None, None)
    for matches, image in zip(found.matches, targets, strict=True):
        assert_close(matches, plain(anchors, image["boxes"], topk))
    assert (found.matches >= 0).any()


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1), (3, 2), (12, 17)], ids=str)
@pytest.mark.parametrize("cells", [1, 2, 9])
def test_candidates_are_the_closest_cells(size: tuple[int, int], cells: int) -> None:
    """Points lie inside and outside the image, on cells and between them. The order of equally
    close cells may differ, so the distances are compared."""
    anchors = grid(size, ratios=(0.5, 2.0))
    points = torch.cat([torch.rand(40, 2) * 200 - 30, torch.randint(-4, 20, (40, 2)) * 4.0])
    found = closest_anchors(anchors, points, cells=cells)
    centres = (anchors.boxes[:, :2] + anchors.boxes[:, 2:]) / 2
    distances = torch.cdist(points.double(), centres.double())
    number = 2 * min(cells, size[0] * size[1])
    assert found.shape == (80, number)
    assert all(len(set(row)) == number for row in found.tolist())
    nearest = distances.sort(dim=1).values[:, :number]
    assert_close(distances.gather(1, found).sort(dim=1).values, nearest, rtol=0, atol=1e-4)


@pytest.mark.filterwarnings("error")
def test_no_boxes_make_no_warning() -> None:
    positive, iou = select_by_iou(torch.zeros(0, 4), torch.zeros(0, 9, 4))
    assert positive.shape == iou.shape == (0, 9)


def test_padding_changes_nothing() -> None:
    anchors, targets = grid((12, 12), (6, 6)), [random_target(4, 60), random_target(0)]
    padded = pad_targets(targets, num_boxes=7)
    padded.boxes[~padded.mask] = float("nan")
    expected = ATSSAssigner(topk=9)(anchors, targets)
    for form in FORMS:
        with in_form(form):
            assert_close(ATSSAssigner(topk=9)(anchors, padded), expected)


@pytest.mark.parametrize("ratios", [[[1.0]], [[0.5, 1.0, 2.0]]], ids=["A = 1", "A = 3"])
def test_a_model_trains_without_reading_values(ratios: list) -> None:
    """The model is on the meta device, where reading a value is an error."""
    changes: dict[str, Any] = {
        "MODEL__ANCHOR_GENERATOR__ASPECT_RATIOS": ratios,
        "MODEL__RETINA_PLUGIN__ASSIGNER__NAME": "ATSSAssigner",
        "MODEL__RETINA_PLUGIN__CLASS_LOSS__NAME": "quality_focal",
        "MODEL__RETINANET__BBOX_REG_LOSS_TYPE": "giou",
    }
    model = compact_model(**changes).to("meta")
    targets = [
        {k: v.to("meta") for k, v in t.items()} for t in (random_target(3), random_target(0))
    ]
    losses = model(torch.randn(2, 3, 64, 96, device="meta"), [(64, 96)] * 2, targets)
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())
