"""Shares of the loss and of the gradient: by hand, and against training."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from retina_plugin.data import load_dataset
from retina_plugin.losses import focal_terms, sigmoid_focal_loss
from retina_plugin.report.focal_effect import (
    GAMMAS,
    NEGATIVES,
    POSITIVES,
    VARIANTS,
    _sums,
    cumulative_losses,
    focal_effect,
    wrong_logits,
)
from retina_plugin.report.imbalance import labelled_logits
from retina_plugin.report.logit_histogram import LogitHistogram
from tests.models import compact_model
from tests.scenes import write_scenes


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def histogram(z: torch.Tensor, group: torch.Tensor) -> LogitHistogram:
    found = LogitHistogram(3)
    found.add(z, group)
    return found


def test_groups_of_logits_by_hand() -> None:
    """An anchor of class 1, one on background, and an ignored one."""
    logits = torch.tensor([[logit(0.05), logit(0.7)], [logit(0.2), logit(0.09)], [0.0, 0.0]])
    z, group = wrong_logits(logits, torch.tensor([1, 2, -1]))
    assert group.tolist() == [0, 2, 1, 0]
    expected = [logit(0.05), -logit(0.7), logit(0.2), logit(0.09)]
    torch.testing.assert_close(z, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-6)


def test_the_example_of_43_to_1() -> None:
    """100,000 negatives of cross entropy 0.1 and 100 positives of 2.3; with gamma 2 the ratio of
    the losses is 43.5 x (1 - e^-0.1)^2 / (1 - e^-2.3)^2."""
    easy, hard = 1 - math.exp(-0.1), 1 - math.exp(-2.3)
    z = torch.tensor([logit(easy)] * 100_000 + [logit(hard)] * 100, dtype=torch.float64)
    sums = _sums(histogram(z, torch.tensor([0] * 100_000 + [2] * 100)))
    losses = dict(zip((v.name for v in VARIANTS), sums[0], strict=True))
    ratio = {name: float(row[0] / row[2]) for name, row in losses.items()}
    assert ratio["cross entropy"] == pytest.approx(10_000 / 230)
    assert ratio["balanced cross entropy, alpha 0.75"] == pytest.approx(10_000 / 230 / 3)
    expected = 10_000 / 230 * easy**2 / hard**2 * 3
    assert ratio["focal loss, gamma 2, alpha 0.25"] == pytest.approx(expected)
    torch.testing.assert_close(
        sums[1, 0], torch.tensor([100_000 * easy, 0, 100 * hard], dtype=torch.float64)
    )


def test_cumulative_losses_by_hand() -> None:
    """Cross entropies of 1 and 3: the easier half has a quarter of the loss."""
    z = torch.tensor([math.expm1(3), math.expm1(1)], dtype=torch.float64).log()
    found = cumulative_losses(histogram(z, torch.tensor([2, 2])), POSITIVES, most=3)
    assert found[0].tolist() == pytest.approx([0, 0.25, 1])
    assert (found[:, 1].diff() < 0).all()  # a larger gamma leaves less to the easy ones
    assert cumulative_losses(LogitHistogram(3), NEGATIVES, most=3).isnan().all()


def test_bins_give_the_sums_of_all_logits() -> None:
    """Also of logits beyond the bins, and of the curves over logits of two groups."""
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(2000, generator=generator, dtype=torch.float64)
    z = torch.cat([normal * 4, torch.tensor([70.0, -90, -90])])
    group = torch.arange(len(z)) % 3
    found = histogram(z, group)
    sums = _sums(found)
    for number, variant in enumerate(VARIANTS):
        for row, values in enumerate(variant.terms(z, variant.gamma)):
            expected = torch.zeros(3, dtype=torch.float64).index_add_(0, group, values.abs())
            negative, positive = variant.weights
            expected *= torch.tensor([negative, negative, positive])
            torch.testing.assert_close(sums[row, number], expected, rtol=1e-6, atol=0)
    losses = focal_terms(z[group != 2].sort().values, 2.0)[0].cumsum(0)
    ends = torch.linspace(0, len(losses), 11).round().long()
    expected = torch.cat([losses.new_zeros(1), losses])[ends] / losses[-1]
    curves = cumulative_losses(found, NEGATIVES, most=11)
    torch.testing.assert_close(curves[GAMMAS.index(2.0)], expected, rtol=0, atol=1e-6)


def test_losses_are_those_of_training(tmp_path: Path) -> None:
    model = compact_model()
    records = load_dataset(write_scenes(tmp_path / "scenes", count=3, seed=0)).records
    found = focal_effect(model, records)
    assert found.images == 3
    total = torch.zeros(3, dtype=torch.float64)
    images = list(labelled_logits(model, records))
    for one in images:
        losses = sigmoid_focal_loss(
            one.logits.double(), one.labels, alpha=0.25, gamma=2.0, reduction="none"
        )
        used = one.labels >= 0
        _, group = wrong_logits(one.logits, one.labels)
        total.index_add_(0, group, losses[used].flatten())
    row = next(i for i, v in enumerate(VARIANTS) if v.gamma == 2)
    torch.testing.assert_close(found.losses[row], total / total.sum())
    anchors = sum(len(one.labels) for one in images) / 3
    assert float(found.anchors.sum()) == pytest.approx(anchors)
    assert float(found.logits.sum()) == 3 * sum(int((one.labels >= 0).sum()) for one in images)
    assert found.positives.shape == found.negatives.shape == (len(GAMMAS), 201)
