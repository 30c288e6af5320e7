"""Box losses: values that can be verified on paper, limits, and finite values for degenerate
boxes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from retina_plugin.losses import BOX_LOSSES, smooth_l1_loss
from retina_plugin.losses.box import ciou_loss, diou_loss
from retina_plugin.modeling.box_coders import decode, encode
from tests.parts import box_loss


@pytest.mark.parametrize(
    ("distance", "beta", "expected"),
    [
        pytest.param(0.5, 1.0, 0.125, id="quadratic: 0.5 * 0.25"),
        pytest.param(2.0, 1.0, 1.5, id="linear: 2 - 0.5"),
        pytest.param(1.0, 1.0, 0.5, id="the corner"),
        pytest.param(0.3, 0.0, 0.3, id="beta 0 is L1"),
        pytest.param(0.0, 0.0, 0.0, id="beta 0 at 0"),
    ],
)
def test_smooth_l1_by_hand(distance: float, beta: float, expected: float) -> None:
    x = torch.tensor([distance], requires_grad=True)
    loss = smooth_l1_loss(x, torch.zeros(1), beta=beta)
    loss.backward()
    assert_close(loss, torch.tensor(expected))
    assert x.grad.isfinite().all()


def test_smooth_l1_is_torchs() -> None:
    a, b = torch.randn(20, 4), torch.randn(20, 4)
    assert_close(
        smooth_l1_loss(a, b, beta=0.11), F.smooth_l1_loss(a, b, beta=0.11, reduction="sum")
    )


@pytest.mark.parametrize("name", BOX_LOSSES)
def test_box_losses_are_0_at_the_ground_truth(name: str) -> None:
    anchors = torch.tensor([[10.0, 10, 50, 40], [0, 0, 30, 30]])
    loss = box_loss(name, torch.zeros(2, 4), anchors, anchors, beta=0.1)
    assert_close(loss, torch.tensor(0.0), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # squares of side 10, 5 apart in x: IoU 1/3, hull 15 x 10 = 150, union 150
        pytest.param("giou", 1 - 1 / 3, id="giou: hull equals union"),
        # centres 5 apart, diagonal of the hull 15^2 + 10^2 = 325
        pytest.param("diou", 1 - 1 / 3 + 25 / 325, id="diou"),
        pytest.param("ciou", 1 - 1 / 3 + 25 / 325, id="ciou: equal aspect ratios add nothing"),
    ],
)
def test_overlap_losses_by_hand(name: str, expected: float) -> None:
    anchors, targets = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[5.0, 0, 15, 10]])
    loss = box_loss(name, torch.zeros(1, 4), anchors, targets, beta=0.0)
    assert_close(loss, torch.tensor(expected))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # union 200, and 100 of the hull of 30 x 10 are empty
        pytest.param("giou", 1 + 100 / 300, id="giou: the share of the hull that is empty"),
        # centres 20 apart, diagonal of the hull 30^2 + 10^2 = 1000
        pytest.param("diou", 1 + 400 / 1000, id="diou"),
        pytest.param("ciou", 1 + 400 / 1000, id="ciou"),
    ],
)
def test_boxes_that_do_not_overlap_by_hand(name: str, expected: float) -> None:
    """Squares of side 10, 20 apart in x."""
    anchors, targets = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[20.0, 0, 30, 10]])
    loss = box_loss(name, torch.zeros(1, 4), anchors, targets, beta=0.0)
    assert_close(loss, torch.tensor(expected))


@pytest.mark.parametrize("name", BOX_LOSSES)
def test_box_losses_without_positives_keep_the_graph(name: str) -> None:
    deltas = torch.zeros(0, 4, requires_grad=True)
    loss = box_loss(name, deltas, torch.zeros(0, 4), torch.zeros(0, 4), beta=0.1)
    loss.backward()
    assert_close(loss, torch.tensor(0.0))


@pytest.mark.parametrize("name", BOX_LOSSES)
@pytest.mark.parametrize(
    "target",
    [[5.0, 5, 5, 5], [5, 5, 30, 5], [400, 400, 410, 410]],
    ids=["a point", "a line", "far away"],
)
def test_degenerate_targets_give_no_nan(name: str, target: list[float]) -> None:
    deltas, anchors = torch.zeros(1, 4, requires_grad=True), torch.tensor([[0.0, 0, 10, 10]])
    loss = box_loss(name, deltas, anchors, torch.tensor([target], dtype=torch.float32), beta=0.1)
    loss.backward()
    assert loss.isfinite()
    assert deltas.grad.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["giou", "diou", "ciou"])
def test_overlap_losses_pull_the_box_to_its_target(name: str) -> None:
    deltas, anchors = torch.zeros(1, 4, requires_grad=True), torch.tensor([[0.0, 0, 10, 10]])
    target, optimizer = torch.tensor([[2.0, 1, 14, 9]]), torch.optim.Adam([deltas], lr=0.01)
    for _ in range(400):
        optimizer.zero_grad()
        box_loss(name, deltas, anchors, target, beta=0.0).backward()
        optimizer.step()
    assert_close(decode(deltas.detach(), anchors), target, atol=0.2, rtol=0)


def test_complete_iou_counts_the_aspect_ratio() -> None:
    """A 10 x 10 square in a 20 x 10 box with the same centre: IoU 1/2, distance 0, angles of 45
    degrees and atan 2."""
    anchors, targets = torch.tensor([[5.0, 0, 15, 10]]), torch.tensor([[0.0, 0, 20, 10]])
    aspect = 4 / torch.pi**2 * (torch.pi / 4 - torch.tensor(2.0).atan()) ** 2
    loss = box_loss("ciou", torch.zeros(1, 4), anchors, targets, beta=0.0)
    assert_close(loss, 0.5 + aspect**2 / (0.5 + aspect))


def test_the_weight_of_the_aspect_ratio_has_no_gradient() -> None:
    """For the same boxes, the gradient of CIoU is that of DIoU plus the constant weight times that
    of the aspect ratio (arXiv 1911.08287, equation 11)."""
    box = torch.tensor([[5.0, 0, 15, 10]], requires_grad=True)
    target = torch.tensor([[0.0, 0, 20, 10]])
    angle = torch.atan2(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1])
    aspect = 4 / torch.pi**2 * (angle - torch.tensor(2.0).atan()) ** 2
    weight = aspect.item() / (0.5 + aspect.item())
    by_hand = diou_loss(box, target) + weight * aspect
    (expected,) = torch.autograd.grad(by_hand.sum(), box)
    (found,) = torch.autograd.grad(ciou_loss(box, target).sum(), box)
    assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", BOX_LOSSES)
def test_gradients(name: str) -> None:
    anchors = torch.rand(6, 4, dtype=torch.float64) * 20
    anchors[:, 2:] += anchors[:, :2] + 5
    targets = anchors + torch.randn(6, 4, dtype=torch.float64)
    deltas = (0.3 * torch.randn(6, 4, dtype=torch.float64)).requires_grad_()

    def loss(x: torch.Tensor) -> torch.Tensor:
        return box_loss(name, x, anchors, targets, beta=0.1)

    # the weight of CIoU has no gradient, so finite differences do not apply
    if name != "ciou":
        assert torch.autograd.gradcheck(loss, deltas)
    assert torch.autograd.grad(loss(deltas), deltas)[0].abs().sum(dim=1).min() > 0


@pytest.mark.parametrize("name", BOX_LOSSES)
@pytest.mark.parametrize(
    "deltas",
    [
        pytest.param([0, 0, -300, -300], id="shrunk to a point"),
        pytest.param([0, 0, -300, 2], id="shrunk to a line"),
        pytest.param([1e6, -1e6, 300, 300], id="enlarged to the limit, far away"),
    ],
)
@pytest.mark.parametrize("target", [[0.0, 0, 10, 10], [5, 5, 5, 5]], ids=["a square", "a point"])
def test_degenerate_predictions_give_no_nan(
    name: str, deltas: list[float], target: list[float]
) -> None:
    prediction = torch.tensor([deltas], dtype=torch.float32, requires_grad=True)
    anchors, targets = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([target], dtype=torch.float32)
    loss = box_loss(name, prediction, anchors, targets, beta=0.1)
    loss.backward()
    assert loss.isfinite()
    assert prediction.grad.isfinite().all()


@pytest.mark.parametrize("name", BOX_LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision(name: str, dtype: torch.dtype) -> None:
    """Half-precision deltas, boxes and anchors in float32: the loss equals that of the rounded
    deltas in float32."""
    anchors, targets = torch.tensor([[0.0, 0, 100, 80]]), torch.tensor([[10.0, 5, 130, 70]])
    deltas = (0.3 * torch.randn(1, 4)).to(dtype).requires_grad_()
    loss = box_loss(name, deltas, anchors, targets, beta=0.1)
    loss.backward()
    assert loss.dtype == torch.float32
    assert deltas.grad.dtype == dtype
    assert_close(
        loss,
        box_loss(name, deltas.detach().float(), anchors, targets, beta=0.1),
    )


def test_smooth_l1_on_boxes_is_smooth_l1_on_their_deltas() -> None:
    anchors, targets = torch.tensor([[0.0, 0, 100, 80]]), torch.tensor([[10.0, 5, 130, 70]])
    weights, deltas = (10.0, 10.0, 5.0, 5.0), torch.randn(1, 4)
    expected = smooth_l1_loss(deltas, encode(targets, anchors, weights=weights), beta=0.1)
    assert_close(
        box_loss("smooth_l1", deltas, anchors, targets, weights=weights, beta=0.1), expected
    )
