"""The losses of three anchors in two images, by hand.

Anchor 0 of the first image learns the only box, which is the anchor itself; anchor 1 is background,
anchor 2 is ignored. The second image has no box.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from retina_plugin.losses import BOX_LOSSES, CLASS_LOSSES
from retina_plugin.modeling.box_coders import DeltaCoder
from retina_plugin.modeling.criterion import DenseCriterion
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


def criterion(box_loss: str = "smooth_l1") -> DenseCriterion:
    """A criterion for K = 2 classes, with L1 on deltas unless another box loss is named."""
    return DenseCriterion(
        num_classes=2,
        box_coder=DeltaCoder(weights=(1.0, 1.0, 1.0, 1.0)),
        class_loss=CLASS_LOSSES.get("ce")(alpha=-1.0, gamma=0.0),
        box_loss=BOX_LOSSES.get(box_loss)(**({"beta": 0.0} if box_loss == "smooth_l1" else {})),
    )


def predictions(deltas: list[float], quality: float | None = None) -> Predictions:
    """Predictions with logits 0, and the same deltas (and quality, if given) for every anchor."""
    shape = torch.zeros(2, 3, 1)
    return Predictions(
        torch.zeros(2, 3, 2),
        (shape + torch.tensor(deltas)).requires_grad_(),
        None if quality is None else shape[..., 0] + quality,
    )


def losses(found: Predictions, assignment: Assignment, **changes: str) -> dict[str, Tensor]:
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
    """They apply to positives, and only to the box loss."""
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
