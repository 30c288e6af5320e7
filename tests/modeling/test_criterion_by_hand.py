"""The losses of three anchors in two images, by hand.

Anchor 0 of the first image learns the only box, which is the anchor itself; anchor 1 is background,
anchor 2 is ignored. The second image has no box.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch import distributed as dist
from torch.testing import assert_close

from retina_plugin.config import ConfigError
from retina_plugin.losses import BOX_LOSSES, CLASS_LOSSES
from retina_plugin.modeling.box_coders import DeltaCoder
from retina_plugin.modeling.criterion import DenseCriterion
from retina_plugin.modeling.distribution_coder import DistributionCoder
from retina_plugin.modeling.quality import centerness
from retina_plugin.modeling.structures import BACKGROUND, IGNORED, Assignment, Predictions
from tests.parts import anchors_of

pytestmark = pytest.mark.usefixtures("both_forms")

ANCHORS = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])
TARGETS = [
    {"boxes": ANCHORS[:1], "labels": torch.tensor([1])},
    {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
]
MATCHES = torch.tensor([[0, BACKGROUND, IGNORED], [BACKGROUND] * 3])
AVERAGE = 0.9 * 100 + 0.1 * 1  # the average after a batch with one positive


def criterion(box_loss: str = "smooth_l1", **changes: Any) -> DenseCriterion:
    """A criterion for K = 2 classes, with L1 on deltas unless another box loss is named."""
    rest = {"quality": "none", "box_weights": "none", "box_loss_weight": 1.0, "dfl_weight": 0.25}
    return DenseCriterion(
        num_classes=2,
        box_coder=DeltaCoder(weights=(1.0, 1.0, 1.0, 1.0)),
        class_loss=CLASS_LOSSES.get("ce")(alpha=-1.0, gamma=0.0),
        box_loss=BOX_LOSSES.get(box_loss)(**({"beta": 0.0} if box_loss == "smooth_l1" else {})),
        **{**rest, **changes},
    )


def predictions(deltas: list[float], quality: float | None = None) -> Predictions:
    """Predictions with logits 0, and the same deltas (and quality, if given) for every anchor."""
    shape = torch.zeros(2, 3, 1)
    return Predictions(
        torch.zeros(2, 3, 2),
        (shape + torch.tensor(deltas)).requires_grad_(),
        None if quality is None else shape[..., 0] + quality,
    )


def losses(found: Predictions, assignment: Assignment, **changes: Any) -> dict[str, Tensor]:
    average = torch.tensor(100.0)
    return criterion(**changes)(
        found, anchors_of(ANCHORS), assignment, TARGETS, average_positives=average
    )


def test_labels() -> None:
    labels = criterion().labels(Assignment(MATCHES), TARGETS)
    assert labels.tolist() == [[1, 2, -1], [2, 2, 2]]


def test_losses_are_sums_over_the_average_of_positives() -> None:
    """Five anchors with two sigmoids at log 2 each, and deltas with errors 0.1, 0.2, 0.3 and
    0.4."""
    found = losses(predictions([0.1, -0.2, 0.3, -0.4]), Assignment(MATCHES))
    assert set(found) == {"loss_cls", "loss_box_reg"}
    assert_close(found["loss_cls"].item(), 10 * math.log(2) / AVERAGE)
    assert_close(found["loss_box_reg"].item(), 1.0 / AVERAGE)


def test_a_loss_of_boxes_gets_decoded_boxes() -> None:
    """The box is shifted by half of its width: IoU 1/3, and the hull equals the union."""
    found = losses(predictions([0.5, 0, 0, 0]), Assignment(MATCHES), box_loss="giou")
    assert_close(found["loss_box_reg"].item(), (1 - 1 / 3) / AVERAGE)


@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
def test_box_weights(weight: float) -> None:
    """The weights apply to positives, and only to the box loss."""
    weights = torch.full((2, 3), 9.0)
    weights[0, 0] = weight
    found = losses(predictions([0.1, -0.2, 0.3, -0.4]), Assignment(MATCHES, box_weights=weights))
    assert_close(found["loss_box_reg"].item(), weight * 1.0 / AVERAGE)
    assert_close(found["loss_cls"].item(), 10 * math.log(2) / AVERAGE)


def test_quality_learns_the_iou_and_does_not_train_the_boxes() -> None:
    """A logit of 2 at an IoU of 1/3: log(1 + e^2) - 2/3."""
    made = predictions([0.5, 0, 0, 0], quality=2.0)
    found = losses(made, Assignment(MATCHES))
    expected = (math.log1p(math.exp(2)) - 2 / 3) / AVERAGE
    assert_close(found["loss_quality"].item(), expected, rtol=1e-5, atol=0)
    assert not found["loss_quality"].requires_grad
    assert found["loss_box_reg"].requires_grad


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        pytest.param((0.0, 0, 10, 10), 1.0, id="in the middle"),
        pytest.param((0.0, 0, 20, 10), math.sqrt(1 / 3), id="left 5 and right 15"),
        pytest.param((0.0, 0, 20, 20), 1 / 3, id="also top 5 and bottom 15"),
        pytest.param((5.0, 0, 20, 10), 0.0, id="on the edge"),
        pytest.param((6.0, 0, 20, 10), 0.0, id="outside"),
        pytest.param((5.0, 5, 5, 5), 0.0, id="a box without area"),
    ],
)
def test_centerness(box: tuple[float, ...], expected: float) -> None:
    """The centre of the anchor is (5, 5)."""
    found = centerness(ANCHORS[:1], torch.tensor([box]))
    assert_close(found, torch.tensor([expected]))


def test_quality_can_learn_the_centerness() -> None:
    """The anchor is the box, so the target is 1: log(1 + e^-2) at a logit of 2."""
    made = predictions([0.5, 0, 0, 0], quality=2.0)
    found = losses(made, Assignment(MATCHES), quality="centerness")
    expected = math.log1p(math.exp(-2)) / AVERAGE
    assert_close(found["loss_quality"].item(), expected, rtol=1e-5, atol=0)


def test_a_branch_of_the_config_that_the_head_lacks() -> None:
    words = "HEAD.QUALITY is iou, but this head has no quality branch: set it to none, or set"
    with pytest.raises(ValueError, match=words):
        losses(predictions([0, 0, 0, 0]), Assignment(MATCHES), quality="iou")


@pytest.mark.parametrize("box_weights", ["centerness", "score", "target"])
def test_weights_of_one_box_have_the_mean_1_or_less(box_weights: str) -> None:
    """One positive: its centreness is 1, its score 0.5 and its soft target 1/3. Their sum is not
    above 1, and the divisor is at least 1, so the weight remains."""
    found = losses(
        predictions([0.5, 0, 0, 0]), Assignment(MATCHES), box_loss="giou", box_weights=box_weights
    )
    weight = {"centerness": 1.0, "score": 0.5, "target": 1 / 3}[box_weights]
    assert_close(found["loss_box_reg"].item(), weight * (1 - 1 / 3) / AVERAGE)


def test_weights_of_many_boxes_have_the_mean_1() -> None:
    """Two positives with scores 0.9 and 0.6: 2 (0.9 * 0.4 + 0.6 * 0.1) / 1.5 for L1 errors 0.4 and
    0.1."""
    logits = torch.tensor([0.9, 0.6]).logit()[:, None].expand(2, 2)
    made = Predictions(logits[None], torch.tensor([[[0.4, 0, 0, 0], [0.1, 0, 0, 0]]]))
    found = criterion(box_weights="score", box_loss_weight=2.0)(
        made,
        anchors_of(ANCHORS[:2]),
        Assignment(torch.tensor([[0, 1]])),
        [{"boxes": ANCHORS[:2], "labels": torch.tensor([0, 1])}],
        average_positives=torch.tensor(100.0),
    )
    assert_close(found["loss_box_reg"].item(), 2 * 2 * (0.36 + 0.06) / 1.5 / (90 + 0.1 * 2))


def test_the_mean_weight_is_that_of_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """This rank has a positive of score 0.9 and L1 error 0.4. The other rank has two positives,
    whose scores add up to 0.6. So the mean of the three weights is 0.5. In evaluation, ranks have
    different numbers of images and do not wait for each other."""
    made = Predictions(torch.tensor([[[0.9, 0.1]]]).logit(), torch.tensor([[[0.4, 0, 0, 0]]]))
    targets = [{"boxes": ANCHORS[:1], "labels": torch.tensor([0])}]

    def add_other_rank(values: Tensor) -> None:
        values.add_(2.0 if values.dim() == 0 else torch.tensor([2.0, 0.6]))

    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", add_other_rank)
    part, average = criterion(box_weights="score"), torch.tensor(100.0)
    arguments = made, anchors_of(ANCHORS[:1]), Assignment(torch.tensor([[0]])), targets
    found = part(*arguments, average_positives=average)
    assert_close(average.item(), 90 + 0.1 * 3)
    assert_close(found["loss_box_reg"].item(), 0.9 / 0.5 * 0.4 * 2 / average.item())
    monkeypatch.setattr(dist, "all_reduce", None)
    found = part.eval()(*arguments, average_positives=average)
    assert_close(found["loss_box_reg"].item(), 0.9 * 0.4 * 2 / average.item())


def test_distributions_need_a_loss_of_boxes() -> None:
    words = "BBOX_REG_LOSS_TYPE to giou, diou or ciou"
    with pytest.raises(ConfigError, match=words):
        DenseCriterion(
            num_classes=2,
            box_coder=DistributionCoder(bins=4),
            class_loss=CLASS_LOSSES.get("ce")(alpha=-1.0, gamma=0.0),
            box_loss=BOX_LOSSES.get("smooth_l1")(beta=0.0),
            quality="none",
            box_weights="none",
            box_loss_weight=1.0,
            dfl_weight=0.25,
        )
