"""The criterion gives the same losses and gradients with gathered and with masked positives."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from retina_plugin.layers.boxes import elementwise_iou
from retina_plugin.losses import BOX_LOSSES, CLASS_LOSSES, BoxLoss
from retina_plugin.modeling.box_coders import DeltaCoder
from retina_plugin.modeling.criterion import DenseCriterion
from retina_plugin.modeling.distribution_coder import DistributionCoder
from retina_plugin.modeling.structures import Anchors, Assignment, Predictions, Target
from retina_plugin.modeling.targets import PaddedTargets, pad_targets
from tests.forms import FORMS, in_form
from tests.parts import anchors_of

K, R = 3, 40


def boxes_of(number: int) -> torch.Tensor:
    """Random boxes (number, 4) with sides from 5 to 35."""
    corners = torch.rand(number, 2) * 60
    return torch.cat([corners, corners + 5 + 30 * torch.rand(number, 2)], dim=1)


def targets_of(*numbers: int) -> list[Target]:
    """Targets with one image for each given number of boxes."""
    return [{"boxes": boxes_of(n), "labels": torch.randint(K, (n,))} for n in numbers]


def assignment_of(targets: list[Target], *, weighted: bool) -> Assignment:
    """Every third anchor is ignored, every third is background, the others learn a random box."""
    numbers = [len(target["labels"]) for target in targets]
    matches = torch.stack([torch.randint(n, (R,)) if n else torch.full((R,), -1) for n in numbers])
    matches[:, ::3], matches[:, 1::3] = -2, -1
    return Assignment(matches, box_weights=torch.rand(matches.shape) if weighted else None)


def predictions_of(num_images: int, *, quality: bool, dtype: torch.dtype) -> Predictions:
    shapes = [(K,), (4,), *([()] if quality else [])]
    return Predictions(
        *((0.5 * torch.randn(num_images, R, *shape)).to(dtype).requires_grad_() for shape in shapes)
    )


class UnboundedLoss(BoxLoss):
    """A loss that is infinite, with NaN gradients, for boxes that do not overlap. Such pairs must
    not affect masked losses."""

    def __call__(self, predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        lower = torch.max(predictions[:, :2], targets[:, :2])
        upper = torch.min(predictions[:, 2:], targets[:, 2:])
        return -(upper - lower).clamp(min=0).prod(dim=1).log()


def criterion_of(
    box_loss: str, class_loss: str = "focal", *, coder: Any = None, **changes: Any
) -> DenseCriterion:
    part = UnboundedLoss if box_loss == "unbounded" else BOX_LOSSES.get(box_loss)
    return DenseCriterion(
        num_classes=K,
        box_coder=coder or DeltaCoder(weights=(10.0, 10.0, 5.0, 5.0)),
        class_loss=CLASS_LOSSES.get(class_loss)(alpha=[0.2, 0.5, 0.7], gamma=2.0),
        box_loss=part(beta=0.1) if box_loss == "smooth_l1" else part(),
        **{
            "quality": "none",
            "box_weights": "none",
            "box_loss_weight": 1.0,
            "dfl_weight": 0.25,
        }
        | changes,
    )


def in_both(
    criterion: DenseCriterion,
    predictions: Predictions,
    anchors: Anchors,
    assignment: Assignment,
    targets: list[Target] | PaddedTargets,
) -> list[tuple]:
    """Losses, gradients by all predictions, and the new average, with each implementation."""
    results = []
    for form in FORMS:
        average = torch.tensor(100.0)
        with in_form(form):
            losses = criterion(predictions, anchors, assignment, targets, average_positives=average)
        inputs = [x for x in predictions if x is not None]
        gradients = torch.autograd.grad(sum(losses.values()), inputs, allow_unused=True)
        results.append((losses, gradients, average))
    return results


@pytest.mark.parametrize("box_loss", BOX_LOSSES)
@pytest.mark.parametrize("numbers", [(0,), (1,), (0, 0), (1, 0, 12), (30, 2)], ids=str)
@pytest.mark.parametrize(
    ("weighted", "quality"),
    [(False, False), (True, True)],
    ids=["", "weights of boxes and quality"],
)
def test_both_forms_agree(
    box_loss: str, numbers: tuple[int, ...], weighted: bool, quality: bool
) -> None:
    targets, anchors = targets_of(*numbers), anchors_of(boxes_of(R))
    predictions = predictions_of(len(numbers), quality=quality, dtype=torch.float32)
    assignment = assignment_of(targets, weighted=weighted)
    sparse, fixed = in_both(criterion_of(box_loss), predictions, anchors, assignment, targets)
    assert_close(fixed, sparse)
    assert set(sparse[0]) == {"loss_cls", "loss_box_reg", *(["loss_quality"] if quality else [])}
    assert (sparse[0]["loss_box_reg"] > 0) == any(numbers)


@pytest.mark.parametrize("box_weights", ["centerness", "score", "target"])
@pytest.mark.parametrize("class_loss", ["focal", "quality_focal"])
@pytest.mark.parametrize("coder", ["deltas", "distributions"])
def test_both_forms_agree_with_weights_of_boxes(
    box_weights: str, class_loss: str, coder: str
) -> None:
    """The head has a branch for centreness, or the boxes are distributions."""
    targets, anchors = targets_of(9, 0, 3), anchors_of(boxes_of(R))
    predictions = predictions_of(3, quality=True, dtype=torch.float32)
    assignment = assignment_of(targets, weighted=True)
    changes: dict[str, Any] = {"box_weights": box_weights, "quality": "centerness"}
    if coder == "distributions":
        changes["coder"] = DistributionCoder(bins=6)
        deltas = torch.randn(3, R, changes["coder"].dim).requires_grad_()
        predictions = predictions._replace(deltas=deltas)
    criterion = criterion_of("giou", class_loss, **changes)
    sparse, fixed = in_both(criterion, predictions, anchors, assignment, targets)
    assert_close(fixed, sparse)
    names = {"loss_cls", "loss_box_reg", "loss_quality"}
    assert set(sparse[0]) == names | ({"loss_dfl"} if coder == "distributions" else set())


@pytest.mark.parametrize("class_loss", CLASS_LOSSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_both_forms_agree_in_half_precision(class_loss: str, dtype: torch.dtype) -> None:
    targets, anchors = targets_of(5, 0), anchors_of(boxes_of(R))
    predictions = predictions_of(2, quality=True, dtype=dtype)
    criterion = criterion_of("giou", class_loss)
    sparse, fixed = in_both(
        criterion, predictions, anchors, assignment_of(targets, weighted=True), targets
    )
    assert_close(fixed, sparse)


def test_only_positives_reach_a_gradient() -> None:
    """Other anchors may have any deltas, and their losses may be infinite."""
    targets, anchors = targets_of(4, 0), anchors_of(boxes_of(R))
    assignment = assignment_of(targets, weighted=True)
    # all positives overlap their boxes
    targets[0]["boxes"] = torch.tensor([[0.0, 0, 100, 100]]).repeat(4, 1)
    predictions = predictions_of(2, quality=True, dtype=torch.float32)
    others = assignment.matches < 0
    with torch.no_grad():
        for values in predictions[1:]:
            values[others] = math.nan
        assignment.box_weights[others] = math.inf
    results = in_both(criterion_of("unbounded"), predictions, anchors, assignment, targets)
    for losses, gradients, _ in results:
        assert all(loss.isfinite() for loss in losses.values())
        for gradient in gradients[1:]:
            assert (gradient[others] == 0).all()
            assert (gradient[~others] != 0).any()
            assert gradient.isfinite().all()
    assert_close(*results)


def test_targets_that_are_padded_already() -> None:
    """Padding may have any values; on the CPU, padded targets are unpadded first."""
    targets, anchors = targets_of(4, 0, 7), anchors_of(boxes_of(R))
    padded = pad_targets(targets, num_boxes=9)
    assert padded.boxes.shape == (3, 9, 4)
    padded.boxes[~padded.mask], padded.labels[~padded.mask] = math.nan, 999
    arguments = (
        criterion_of("smooth_l1"),
        predictions_of(3, quality=True, dtype=torch.float32),
        anchors,
        assignment_of(targets, weighted=False),
    )
    assert_close(in_both(*arguments, padded), in_both(*arguments, targets))


@pytest.mark.parametrize("numbers", [(0,), (0, 0), (3,), (1, 0, 5)], ids=str)
def test_padding_and_back(numbers: tuple[int, ...]) -> None:
    targets = targets_of(*numbers)
    padded = pad_targets(targets)
    assert padded.labels.shape == (len(numbers), max(numbers))
    assert padded.mask.sum(dim=1).tolist() == list(numbers)
    assert_close(list(padded), targets)


def test_padding_of_other_types() -> None:
    """Types that NumPy gives: float64 boxes, int32 classes."""
    padded = pad_targets([{"boxes": boxes_of(2).double(), "labels": torch.zeros(2).int()}])
    assert (padded.boxes.dtype, padded.labels.dtype) == (torch.float64, torch.int64)


@pytest.mark.usefixtures("both_forms")
def test_a_loss_with_hard_targets_refuses_soft_ones() -> None:
    targets, anchors = targets_of(1), anchors_of(boxes_of(R))
    assignment = Assignment(torch.zeros(1, R, dtype=torch.int64), quality=torch.ones(1, R))
    predictions = predictions_of(1, quality=False, dtype=torch.float32)
    words = "ASSIGNER.NAME: .* FocalLoss needs hard ones. Set .*CLASS_LOSS.NAME to quality_focal"
    with pytest.raises(ValueError, match=words):
        criterion_of("giou")(
            predictions, anchors, assignment, targets, average_positives=torch.tensor(100.0)
        )


@pytest.mark.usefixtures("both_forms")
@pytest.mark.parametrize("class_loss", ["quality_focal", "varifocal"])
def test_the_soft_target_is_the_iou_unless_the_assigner_gives_one(class_loss: str) -> None:
    """The loss equals that of an assignment that holds the IoUs of the decoded boxes."""
    targets, anchors = targets_of(4, 0), anchors_of(boxes_of(R))
    predictions = predictions_of(2, quality=False, dtype=torch.float32)
    assignment = assignment_of(targets, weighted=False)
    criterion = criterion_of("giou", class_loss)
    boxes = criterion.box_coder.decode(predictions.deltas[0].detach(), anchors)
    quality = torch.zeros(2, R)
    for row, match in enumerate(assignment.matches[0].tolist()):
        if match >= 0:
            pair = boxes[row : row + 1], targets[0]["boxes"][match : match + 1]
            quality[0, row] = elementwise_iou(*pair)[0]

    def loss_of(assigned: Assignment) -> torch.Tensor:
        average = torch.tensor(100.0)
        losses = criterion(predictions, anchors, assigned, targets, average_positives=average)
        return losses["loss_cls"]

    assert_close(loss_of(assignment), loss_of(assignment._replace(quality=quality)))
    assert loss_of(assignment) != loss_of(assignment._replace(quality=torch.ones(2, R)))
