"""Measure what focal loss does on some images of a data set, for a trained model.

A logit is one of the K class scores of an anchor. It is positive if the anchor is assigned to a box
of this class, and negative otherwise; ignored anchors have none. A negative is easy if its score is
at most 0.1 (its cross entropy is then at most 0.105, as in the paper's example), else hard.

The logits of an image with 80 classes can be 16 million, so they are counted in fine bins
(:mod:`retina_plugin.report.logit_histogram`).

Axes: R anchors, K classes, L levels, V losses, G values of gamma.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from retina_plugin.losses import cross_entropy_terms, focal_terms
from retina_plugin.modeling.retinanet import RetinaNet
from retina_plugin.report.imbalance import LabelledLogits, LossVariant, labelled_logits
from retina_plugin.report.logit_histogram import LogitHistogram

EASY_SCORE = 0.1  # highest score of an easy negative
GAMMAS = (0.0, 0.5, 1.0, 2.0, 5.0)
GROUPS = ("easy negatives", "hard negatives", "positives")
NEGATIVES, POSITIVES = slice(0, 2), slice(2, 3)  # of GROUPS
# weights of negatives and positives: the paper's alpha is 0.75 without focusing, 0.25 with it
VARIANTS = (
    LossVariant("cross entropy", cross_entropy_terms),
    LossVariant("balanced cross entropy, alpha 0.75", cross_entropy_terms, weights=(0.25, 0.75)),
    *(
        LossVariant(f"focal loss, gamma {g:g}, alpha 0.25", focal_terms, g, (0.75, 0.25))
        for g in GAMMAS[1:]
    ),
)


class FocalEffect(NamedTuple):
    """What the losses of :data:`VARIANTS` are made of.

    Attributes:
        images: number of images.
        anchors: (L, 3) mean number of positive, ignored and negative anchors of an image, by level.
        logits: (3,) number of logits in each of :data:`GROUPS`.
        losses, gradients: (V, 3) share of each group in the sum of the losses, and in the sum of
            the absolute derivatives by the logits; NaN if the sum is 0.
        positives, negatives: (G, S) the curves of the paper's figure 4, see
            :func:`cumulative_losses`.
    """

    images: int
    anchors: Tensor
    logits: Tensor
    losses: Tensor
    gradients: Tensor
    positives: Tensor
    negatives: Tensor


def focal_effect(
    model: RetinaNet, records: Sequence[Mapping[str, Any]], **options: Any
) -> FocalEffect:
    """Measure the losses on some images.

    Args:
        model: a trained model.
        records: at least one record of a data set.
        options: arguments for reading images, see :func:`retina_plugin.data.image_options`.

    Raises:
        ValueError: see :func:`retina_plugin.report.imbalance.labelled_logits`.
        DatasetError: an image cannot be read.
    """
    anchors, found = torch.zeros(()), LogitHistogram(len(GROUPS))
    for one in labelled_logits(model, records, **options):
        anchors = anchors + _count_anchors(one, model.num_classes)
        found.add(*wrong_logits(one.logits, one.labels))
    sums = _sums(found)
    totals = sums.sum(dim=2, keepdim=True)
    shares = sums / torch.where(totals > 0, totals, math.nan)
    return FocalEffect(
        images=len(records),
        anchors=anchors / len(records),
        logits=found.counts.sum(dim=1),
        losses=shares[0],
        gradients=shares[1],
        positives=cumulative_losses(found, POSITIVES),
        negatives=cumulative_losses(found, NEGATIVES),
    )


def wrong_logits(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits of the wrong answer, and the group of each.

    Args:
        logits: (R, K).
        labels: (R,), see :func:`retina_plugin.losses.sigmoid_focal_loss`.

    Returns:
        z: (S,) the logit of a negative, and minus the logit of a positive, on the CPU.
        group: (S,) int64, index in :data:`GROUPS`.
    """
    used = labels >= 0
    logits, labels = logits[used].cpu().double(), labels[used].cpu()
    positive = labels[:, None] == torch.arange(logits.shape[1])
    group = (logits > math.log(EASY_SCORE / (1 - EASY_SCORE))).long()
    group[positive] = 2
    return torch.where(positive, -logits, logits).flatten(), group.flatten()


def _count_anchors(found: LabelledLogits, num_classes: int) -> Tensor:
    """Return the numbers (L, 3) of positive, ignored and negative anchors."""
    rows = []
    for labels in torch.split(found.labels.cpu(), list(found.counts)):
        kinds = [(labels >= 0) & (labels < num_classes), labels < 0, labels == num_classes]
        rows.append(torch.stack([kind.sum() for kind in kinds]))
    return torch.stack(rows).double()


def _sums(found: LogitHistogram) -> Tensor:
    """Return the sums (2, V, 3) of losses and absolute derivatives in each group."""
    sums = torch.zeros(2, len(VARIANTS), len(GROUPS), dtype=torch.float64)
    for number, variant in enumerate(VARIANTS):
        negative, positive = variant.weights
        weights = torch.tensor([negative, negative, positive], dtype=torch.float64)
        for row, values in enumerate(variant.terms(found.values, variant.gamma)):
            sums[row, number] = (values.abs() * found.counts).sum(dim=1) * weights
    return sums


def cumulative_losses(found: LogitHistogram, groups: slice, *, most: int = 201) -> Tensor:
    """Return the shares of the loss that the easiest logits have, for each of :data:`GAMMAS`.

    Args:
        found: the logits of the wrong answers, see :func:`wrong_logits`.
        groups: the groups to use.
        most: number of points.

    Returns:
        (G, ``most``), from 0 to 1: the share of the loss of the easiest part of the logits, for
        parts from 0 to 1. NaN without logits.
    """
    counts, z = found.ascending(groups)
    if not len(counts):
        return torch.full((len(GAMMAS), most), math.nan, dtype=torch.float64)
    ends = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).numpy()
    parts = np.linspace(0, ends[-1], most).round()
    rows = []
    for gamma in GAMMAS:
        losses = (focal_terms(z, gamma)[0] * counts).cumsum(0)
        total = torch.cat([losses.new_zeros(1), losses]).numpy()
        rows.append(torch.from_numpy(np.interp(parts, ends, total) / total[-1]))
    return torch.stack(rows)
