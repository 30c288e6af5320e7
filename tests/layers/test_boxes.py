"""Box functions: tables that can be verified on paper, and identities."""

import pytest
import torch
from torch.testing import assert_close

from retina_plugin.layers.boxes import area, clip, pairwise_iou
from retina_plugin.modeling.box_coders import MAX_LOG_SCALE, decode, encode


def random_boxes(count: int) -> torch.Tensor:
    corners = torch.rand(count, 2) * 100
    return torch.cat([corners, corners + 1 + torch.rand(count, 2) * 50], dim=1)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        pytest.param([0, 0, 4, 3], 12, id="4 x 3"),
        pytest.param([2, 2, 2, 9], 0, id="no width"),
        pytest.param([5, 5, 1, 1], 0, id="corners swapped"),
    ],
)
def test_area(box: list[float], expected: float) -> None:
    assert_close(area(torch.tensor([box], dtype=torch.float32)), torch.tensor([float(expected)]))


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        pytest.param([0, 0, 10, 10], 1.0, id="itself"),
        pytest.param([5, 0, 15, 10], 50 / 150, id="half of each"),
        pytest.param([0, 0, 5, 5], 25 / 100, id="a quarter inside"),
        pytest.param([10, 0, 20, 10], 0.0, id="edges touch"),
        pytest.param([20, 20, 30, 30], 0.0, id="apart"),
        pytest.param([3, 3, 3, 3], 0.0, id="a point"),
    ],
)
def test_iou_with_a_square_of_10(other: list[float], expected: float) -> None:
    square = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    assert_close(
        pairwise_iou(square, torch.tensor([other], dtype=torch.float32)), torch.tensor([[expected]])
    )


def test_iou_is_symmetric_and_bounded() -> None:
    a, b = random_boxes(20), random_boxes(30)
    iou = pairwise_iou(a, b)
    assert iou.shape == (20, 30)
    assert_close(iou, pairwise_iou(b, a).T)
    assert iou.min() >= 0
    assert iou.max() <= 1


@pytest.mark.parametrize(("m", "r"), [(0, 3), (3, 0), (0, 0)])
def test_iou_of_no_boxes(m: int, r: int) -> None:
    assert pairwise_iou(torch.zeros(m, 4), torch.zeros(r, 4)).shape == (m, r)


def test_encode_by_hand() -> None:
    # anchor: centre (50, 50), size 20 x 10; box: centre (60, 45), size 40 x 10
    anchor, box = torch.tensor([[40.0, 45, 60, 55]]), torch.tensor([[40.0, 40, 80, 50]])
    expected = torch.tensor([[10 / 20, -5 / 10, 2.0, 1.0]])
    expected[:, 2:] = expected[:, 2:].log()
    assert_close(encode(box, anchor), expected)
    assert_close(
        encode(box, anchor, weights=(10, 10, 5, 5)), expected * torch.tensor([10.0, 10, 5, 5])
    )


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)])
def test_decode_inverts_encode(weights: tuple[float, ...]) -> None:
    boxes, anchors = random_boxes(50), random_boxes(50)
    assert_close(
        decode(encode(boxes, anchors, weights=weights), anchors, weights=weights),
        boxes,
        rtol=1e-4,
        atol=1e-3,
    )


def test_decode_limits_growth() -> None:
    box = decode(torch.tensor([[0.0, 0, 100, MAX_LOG_SCALE]]), torch.tensor([[0.0, 0, 16, 16]]))
    assert_close(box[:, 2:] - box[:, :2], torch.tensor([[1000.0, 1000.0]]), rtol=1e-4, atol=0)


def test_a_box_of_zero_size_encodes_to_finite_numbers() -> None:
    assert encode(torch.tensor([[5.0, 5, 5, 5]]), torch.tensor([[0.0, 0, 10, 10]])).isfinite().all()


def test_no_boxes() -> None:
    empty = torch.zeros(0, 4)
    assert (
        encode(empty, empty).shape
        == decode(empty, empty).shape
        == clip(empty, (5, 5)).shape
        == (0, 4)
    )


def test_clip() -> None:
    boxes = torch.tensor([[-5.0, 2, 30, 8], [25, 11, 40, 20]])
    assert_close(clip(boxes, (10, 20)), torch.tensor([[0.0, 2, 20, 8], [20, 10, 20, 10]]))
