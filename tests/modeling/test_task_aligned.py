"""Task-aligned assignment by hand, and against the rule on whole matrices."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from retina_plugin.layers.boxes import pairwise_iou
from retina_plugin.modeling.anchors import AnchorGenerator
from retina_plugin.modeling.assigners import TaskAlignedAssigner, tiles
from retina_plugin.modeling.assigners.alignment import Rule, align_in_tiles, align_with_all
from retina_plugin.modeling.box_coders import DeltaCoder
from retina_plugin.modeling.distribution_coder import DistributionCoder
from retina_plugin.modeling.structures import BACKGROUND, Anchors, Predictions, Target
from retina_plugin.modeling.targets import pad_targets
from tests.forms import FORMS, in_form
from tests.models import compact_model
from tests.parts import anchors_of

BOTH = pytest.mark.usefixtures("both_forms")
K = 3
CODER = DeltaCoder(weights=(1.0, 1.0, 1.0, 1.0))


def assigner(**changes: Any) -> TaskAlignedAssigner:
    rule = {"topk": 13, "alpha": 1.0, "beta": 6.0, "box_coder": CODER}
    return TaskAlignedAssigner(**rule | changes)


def pyramid(cells: int = 16) -> Anchors:
    generator = AnchorGenerator(
        sizes=[[16, 24], [32, 48]], aspect_ratios=[[0.5, 1.0, 2.0]], strides=[8, 16], offset=0.5
    )
    return generator([(cells, cells), (cells // 2, cells // 2)])


def random_target(number: int, size: float = 90) -> Target:
    corners = torch.rand(number, 2) * size
    boxes = torch.cat([corners, corners + 6 + torch.rand(number, 2) * 60], dim=1)
    return {"boxes": boxes, "labels": torch.randint(K, (number,))}


def random_predictions(anchors: Anchors, num_images: int) -> Predictions:
    count = len(anchors.boxes)
    logits, deltas = torch.randn(num_images, count, K) - 2, torch.randn(num_images, count, 4)
    return Predictions(logits, 0.3 * deltas)


def plain(
    anchors: Anchors, predicted: Tensor, logits: Tensor, target: Target, topk: int
) -> tuple[Tensor, Tensor]:
    """The rule on the matrices of all pairs: matches and soft targets of one image (R,)."""
    boxes, labels = target["boxes"], target["labels"]
    iou = pairwise_iou(boxes, predicted)
    alignment = logits.sigmoid()[:, labels].t() * iou**6
    centres = (anchors.boxes[:, :2] + anchors.boxes[:, 2:]) / 2
    matches = torch.full((len(predicted),), BACKGROUND)
    for number, box in enumerate(boxes):
        for row in alignment[number].argsort(descending=True)[:topk].tolist():
            inside = bool(
                (centres[row] > box[:2] + 0.01).all() & (centres[row] < box[2:] - 0.01).all()
            )
            best = iou[matches[row], row] if matches[row] >= 0 else 0
            if alignment[number, row] > 0 and inside and iou[number, row] > best:
                matches[row] = number
    quality = torch.zeros(len(predicted))
    for number in range(len(boxes)):
        rows = matches == number
        if rows.any():
            found = alignment[number, rows]
            quality[rows] = found / (found.max() + 1e-7) * iou[number, rows].max()
    return matches, quality


@BOTH
def test_by_hand() -> None:
    """Three anchors that predict themselves, with scores 0.5, 0.8 and 0.9. The box overlaps two of
    them, with IoUs of 100 / 105 and 55 / 150. The highest soft target is the highest IoU."""
    corners = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [40, 0, 50, 10]])
    anchors = anchors_of(corners)
    logits = torch.tensor([[0.5], [0.8], [0.9]]).logit()[None]
    predictions = Predictions(logits, torch.zeros(1, 3, 4))
    target = {"boxes": torch.tensor([[0.0, 0, 10.5, 10]]), "labels": torch.tensor([0])}
    found = assigner()(anchors, [target], predictions)
    assert found.matches.tolist() == [[0, 0, -1]]
    first, second = 100 / 105, 55 / 150
    expected = 0.8 * second**6 / (0.5 * first**6) * first
    assert_close(found.quality, torch.tensor([[first, expected, 0]]), rtol=1e-4, atol=1e-6)


@BOTH
def test_the_centre_must_lie_inside() -> None:
    """The centre of anchor 1, (10, 5), is on the edge of the box."""
    anchors = anchors_of(torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10]]))
    predictions = Predictions(torch.zeros(1, 2, 1), torch.zeros(1, 2, 4))
    target = {"boxes": torch.tensor([[0.0, 0, 10, 10]]), "labels": torch.tensor([0])}
    found = assigner()(anchors, [target], predictions)
    assert found.matches.tolist() == [[0, -1]]
    assert_close(found.quality, torch.tensor([[1.0, 0]]), rtol=1e-5, atol=0)


@BOTH
@pytest.mark.parametrize("topk", [1, 5, 13, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("pieces", [(4, 3, 64), (128, 256, 2**17)], ids=str)
def test_like_the_rule_on_whole_matrices(
    topk: int, pieces: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in zip(("TILE", "PART_TILES", "GROUP_ELEMENTS"), pieces, strict=True):
        monkeypatch.setattr(tiles, name, value)
    anchors = pyramid()
    targets = [random_target(12), random_target(0), random_target(1)]
    predictions = random_predictions(anchors, 3)
    found = assigner(topk=topk)(anchors, targets, predictions)
    for number, target in enumerate(targets):
        predicted = CODER.decode(predictions.deltas[number], anchors)
        matches, quality = plain(anchors, predicted, predictions.logits[number], target, topk)
        assert_close(found.matches[number], matches)
        assert_close(found.quality[number], quality, rtol=1e-4, atol=1e-6)
    assert (found.matches >= 0).any()


def test_rounding_loses_no_candidate() -> None:
    """All 64 predictions are equal. The lower bound of a box is the alignment of one of them, which
    is computed again together with the others. Vector instructions can give another last digit; the
    logits are some for which they give a smaller score."""
    many = torch.linspace(-4, 4, 2000)
    logits = [x for x, score in zip(many, many.sigmoid(), strict=True) if score < x.sigmoid()][:30]
    predicted = torch.tensor([[0.0, 0, 100, 100]]).expand(64, 4)
    arguments = torch.tensor([[0.0, 0, 80, 90]]), torch.tensor([0]), Rule(1, 1.0, 6.0)
    for logit in logits:
        scores = logit.expand(64, 1)
        found = align_in_tiles(scores, lambda part: predicted[part], *arguments)
        assert_close(found.alignment, align_with_all(scores, predicted, *arguments).alignment)


@BOTH
def test_a_box_without_area_and_one_without_predictions() -> None:
    anchors = pyramid(4)
    target = {
        "boxes": torch.tensor([[8.0, 8, 8, 8], [500.0, 500, 520, 520]]),
        "labels": torch.tensor([0, 1]),
    }
    found = assigner()(anchors, [target], random_predictions(anchors, 1))
    assert (found.matches == BACKGROUND).all()
    assert (found.quality == 0).all()


@BOTH
def test_predictions_that_are_not_finite_are_no_candidates() -> None:
    anchors, target = pyramid(4), random_target(3, 20)
    predictions = random_predictions(anchors, 1)
    predictions.deltas[0, ::3] = float("nan")
    found = assigner()(anchors, [target], predictions)
    assert (found.matches[0, ::3] == BACKGROUND).all()


def test_padding_changes_nothing() -> None:
    anchors, targets = pyramid(8), [random_target(4, 30), random_target(0)]
    predictions = random_predictions(anchors, 2)
    padded = pad_targets(targets, num_boxes=6)
    padded.boxes[~padded.mask], padded.labels[~padded.mask] = float("nan"), 999
    expected = assigner()(anchors, targets, predictions)
    for form in FORMS:
        with in_form(form):
            assert_close(assigner()(anchors, padded, predictions), expected)


def test_boxes_as_distributions() -> None:
    """Both implementations agree. If only some anchors are decoded, their own strides are used."""
    anchors, coder = pyramid(), DistributionCoder(bins=4)
    targets = [random_target(6)]
    logits = torch.randn(1, len(anchors.boxes), K)
    predictions = Predictions(logits, torch.randn(1, len(anchors.boxes), coder.dim))
    found = []
    for form in FORMS:
        with in_form(form):
            found.append(assigner(box_coder=coder)(anchors, targets, predictions))
    assert_close(*found)
    assert (found[0].matches >= 0).any()


def test_it_needs_predictions() -> None:
    with pytest.raises(ValueError, match="TaskAlignedAssigner needs the predictions"):
        assigner()(pyramid(4), [random_target(1)])


CHANGES = {
    "MODEL__RETINA_PLUGIN__ASSIGNER__NAME": "TaskAlignedAssigner",
    "MODEL__RETINA_PLUGIN__CLASS_LOSS__NAME": "varifocal",
    "MODEL__RETINA_PLUGIN__CRITERION__DenseCriterion__BOX_WEIGHTS": "target",
    "MODEL__RETINANET__BBOX_REG_LOSS_TYPE": "giou",
}


def test_a_model_trains_without_reading_values() -> None:
    """The model is on the meta device, where reading a value is an error."""
    model = compact_model(**CHANGES).to("meta")
    targets = [
        {k: v.to("meta") for k, v in t.items()} for t in (random_target(3), random_target(0))
    ]
    losses = model(torch.randn(2, 3, 64, 96, device="meta"), [(64, 96)] * 2, targets)
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())


@BOTH
def test_a_class_loss_with_hard_targets_is_refused() -> None:
    model = compact_model(**CHANGES | {"MODEL__RETINA_PLUGIN__CLASS_LOSS__NAME": "focal"})
    with pytest.raises(ValueError, match=r"CLASS_LOSS\.NAME to quality_focal or varifocal"):
        model(torch.randn(1, 3, 64, 64), [(64, 64)], [random_target(1, 20)])
