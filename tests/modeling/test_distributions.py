"""Boxes as distributions: the coder, and distribution focal loss."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from retina_plugin.losses import INITIAL, distribution_focal_loss
from retina_plugin.losses.distribution import two_bins
from retina_plugin.modeling.anchors import AnchorGenerator
from retina_plugin.modeling.distribution_coder import DistributionCoder
from tests.models import compact_model

BOTH = pytest.mark.usefixtures("both_forms")


@pytest.mark.parametrize(
    ("distance", "expected"),
    [
        (0.0, [1, 0, 0, 0]),
        (1.0, [0, 1, 0, 0]),
        (1.25, [0, 0.75, 0.25, 0]),
        (3.0, [0, 0, 0, 1]),
        (-1.0, [1, 0, 0, 0]),
        (9.0, [0, 0, 0, 1]),
    ],
)
def test_two_bins(distance: float, expected: list[float]) -> None:
    assert two_bins(torch.tensor(distance), 4).tolist() == expected


@BOTH
def test_loss_by_hand() -> None:
    """Two bins of equal score: log 2 for every distance. With logits 0 and log 3, the scores are
    1/4 and 3/4; for the distance 0.5 the loss is -(log 1/4 + log 3/4) / 2."""
    logits = torch.tensor([[[0.0, 0.0], [0.0, math.log(3)]]])
    found = distribution_focal_loss(logits, torch.tensor([[0.3, 0.5]]))
    expected = (math.log(2) - (math.log(1 / 4) + math.log(3 / 4)) / 2) / 2
    assert_close(found, torch.tensor([expected]))


@BOTH
def test_loss_is_the_cross_entropy_of_both_bins() -> None:
    logits, distances = torch.randn(5, 4, 9, dtype=torch.float64), torch.rand(5, 4).double() * 8
    left = distances.long().clamp(max=7)
    lower, upper = (
        F.cross_entropy(logits.flatten(0, 1), index.flatten(), reduction="none").view(5, 4)
        for index in (left, left + 1)
    )
    expected = lower * (left + 1 - distances) + upper * (distances - left)
    assert_close(distribution_focal_loss(logits, distances), expected.mean(dim=1))


@BOTH
def test_gradcheck() -> None:
    logits = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    distances = torch.rand(3, 4, dtype=torch.float64) * 4
    assert torch.autograd.gradcheck(lambda x: distribution_focal_loss(x, distances), logits)


@BOTH
@pytest.mark.parametrize("value", [0.0, 200.0, -200.0])
def test_finite_at_saturated_logits(value: float) -> None:
    logits = torch.zeros(2, 4, 5)
    logits[0, :, 0] = value
    logits.requires_grad_()
    loss = distribution_focal_loss(logits, torch.tensor([[0.0, 1.5, 2.0, 4.0]]).expand(2, 4))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert logits.grad.isfinite().all()


def test_one_tensor_is_kept_for_backward() -> None:
    logits, saved = torch.randn(50, 4, 17, requires_grad=True), []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: saved.append(x.nbytes) or x, lambda x: x
    ):
        distribution_focal_loss(logits, torch.rand(50, 4) * 16)
    assert sum(saved) == logits.nbytes


@BOTH
def test_no_boxes() -> None:
    logits = torch.zeros(0, 4, 5, requires_grad=True)
    loss = distribution_focal_loss(logits, torch.zeros(0, 4))
    assert loss.shape == (0,)
    loss.sum().backward()
    assert logits.grad.shape == (0, 4, 5)


@BOTH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    logits, distances = torch.randn(3, 4, 5).to(dtype).requires_grad_(), torch.rand(3, 4) * 4
    loss = distribution_focal_loss(logits, distances)
    loss.sum().backward()
    assert (loss.dtype, logits.grad.dtype) == (torch.float32, dtype)
    assert_close(loss, distribution_focal_loss(logits.detach().float(), distances))


@pytest.mark.parametrize(
    ("shape", "distances"), [((3, 4, 1), (3, 4)), ((3, 4, 5), (3, 3)), ((3, 20), (3, 4))], ids=str
)
def test_wrong_shapes(shape: tuple[int, ...], distances: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected logits \(P, S, B \+ 1\)"):
        distribution_focal_loss(torch.zeros(shape), torch.zeros(distances))


def pyramid() -> AnchorGenerator:
    return AnchorGenerator(sizes=[[16], [32]], aspect_ratios=[[1.0]], strides=[8, 16], offset=0.5)


def test_coder_by_hand() -> None:
    """Anchors of strides 8 and 16, with centres (4, 4) and (8, 8)."""
    anchors = pyramid()([(1, 1), (1, 1)])
    coder = DistributionCoder(bins=4)
    assert coder.dim == 20
    boxes = torch.tensor([[-4.0, 0, 12, 36], [-8.0, 0, 24, 8]])
    distances = coder.distances(boxes, anchors)
    # the last bin is 4, and targets end 0.1 below it
    assert_close(distances, torch.tensor([[1.0, 0.5, 1, 3.9], [1, 0.5, 1, 0]]))
    # the mean of equal scores is 2 strides
    expected = torch.tensor([[-12.0, -12, 20, 20], [-24, -24, 40, 40]])
    assert_close(coder.decode(torch.zeros(2, 20), anchors), expected)


def test_decode_inverts_encode() -> None:
    anchors = pyramid()([(6, 8), (3, 4)])
    rows = torch.randint(len(anchors.boxes), (30,))
    some, coder = anchors.at(rows), DistributionCoder(bins=16)
    centres = (some.boxes[:, :2] + some.boxes[:, 2:]) / 2
    reach = torch.rand(30, 4) * 120
    boxes = torch.cat([centres - reach[:, :2], centres + reach[:, 2:]], dim=1)
    encoded = coder.encode(boxes, some)
    assert encoded.shape == (30, coder.dim)
    assert encoded.isfinite().all()
    assert_close(coder.decode(encoded, some), boxes, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_autocast_decodes_the_same_boxes(dtype: torch.dtype) -> None:
    anchors = pyramid()([(6, 8), (3, 4)])
    coder = DistributionCoder(bins=16)
    deltas = torch.randn(len(anchors.boxes), coder.dim)
    expected = coder.decode(deltas, anchors)
    with torch.autocast("cpu", dtype):
        found = coder.decode(deltas, anchors)
    assert_close(found, expected)


def test_levels_and_strides_of_anchors() -> None:
    anchors = pyramid()([(1, 2), (1, 1)])
    assert anchors.levels.tolist() == [0, 0, 1]
    assert anchors.stride_of_each.tolist() == [8, 8, 16]
    assert anchors.at(torch.tensor([2, 0])).stride_of_each.tolist() == [16, 8]
    assert anchors.at(torch.zeros(0, dtype=torch.int64)).levels.shape == (0,)


@BOTH
def test_a_model_of_generalised_focal_loss_learns() -> None:
    """A few steps on one image lower the losses of its boxes. The class loss rises at first,
    because its target, the IoU, rises."""
    model = compact_model(
        MODEL__ANCHOR_GENERATOR__SIZES=[[32], [64], [128], [256], [512]],
        MODEL__ANCHOR_GENERATOR__ASPECT_RATIOS=[[1.0]],
        MODEL__RETINANET__BBOX_REG_LOSS_TYPE="giou",
        MODEL__RETINANET__SCORE_THRESH_TEST=0.0,
        MODEL__RETINA_PLUGIN__ASSIGNER__NAME="ATSSAssigner",
        MODEL__RETINA_PLUGIN__BOX_CODER__NAME="DistributionCoder",
        MODEL__RETINA_PLUGIN__CLASS_LOSS__NAME="quality_focal",
    )
    assert model.head.bbox_pred.out_channels == 4 * 17
    images = torch.randn(1, 3, 64, 64)
    target = {"boxes": torch.tensor([[8.0, 8, 40, 48]]), "labels": torch.tensor([1])}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    history = []
    for _ in range(8):
        model.loss_normalizer.fill_(INITIAL)  # it would fall, and losses would rise
        losses = model(images, [(64, 64)], [target])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append({name: loss.item() for name, loss in losses.items()})
    assert set(history[0]) == {"loss_cls", "loss_box_reg", "loss_dfl"}
    for name in ("loss_box_reg", "loss_dfl"):
        assert history[-1][name] < history[0][name]
    assert all(p.grad.isfinite().all() for p in model.parameters())
    with torch.no_grad():
        (found,) = model.eval()(images, [(64, 64)])
    assert len(found["boxes"])
    assert found["boxes"].isfinite().all()
