"""Measure what focal loss does on some images of a data set, for a trained model.

A logit is one of the K class scores of an anchor. It is positive if the anchor is assigned to a box
of this class, and negative otherwise; ignored anchors have none. A negative is easy if its score is
at most 0.1 (its cross entropy is then at most 0.105, as in the paper's example), else hard.

Axes: R anchors, K classes, L levels, V losses, G values of gamma.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from retina_plugin.losses import cross_entropy_terms, focal_terms
from retina_plugin.modeling.retinanet import RetinaNet
from retina_plugin.report.imbalance import LabelledLogits, LossVariant, labelled_logits

EASY_SCORE = 0.1  # highest score of an easy negative
GAMMAS = (0.0, 0.5, 1.0, 2.0, 5.0)
GROUPS = ("easy negatives", "hard negatives", "positives")
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
    anchors, logits = torch.zeros(()), torch.zeros(3, dtype=torch.float64)
    sums = torch.zeros(2, len(VARIANTS), 3, dtype=torch.float64)
    positives, negatives = [], []
    for found in labelled_logits(model, records, **options):
        z, group = wrong_logits(found.logits, found.labels)
        anchors = anchors + _count_anchors(found, model.num_classes)
        logits += torch.bincount(group, minlength=3)
        sums += _sums(z, group)
        positives.append(z[group == 2])
        negatives.append(z[group != 2])
    totals = sums.sum(dim=2, keepdim=True)
    shares = sums / torch.where(totals > 0, totals, math.nan)
    return FocalEffect(
        images=len(records),
        anchors=anchors / len(records),
        logits=logits,
        losses=shares[0],
        gradients=shares[1],
        positives=cumulative_losses(torch.cat(positives)),
        negatives=cumulative_losses(torch.cat(negatives)),
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


def _sums(z: Tensor, group: Tensor) -> Tensor:
    """Return the sums (2, V, 3) of losses and absolute derivatives in each group."""
    sums = torch.zeros(2, len(VARIANTS), 3, dtype=torch.float64)
    for number, variant in enumerate(VARIANTS):
        loss, derivative = variant.terms(z.clone(), variant.gamma)
        negative, positive = variant.weights
        weights = torch.tensor([negative, negative, positive], dtype=torch.float64)
        for row, values in enumerate((loss, derivative.abs())):
            sums[row, number].index_add_(0, group, values)
            sums[row, number] *= weights
    return sums


def cumulative_losses(z: Tensor, *, most: int = 201) -> Tensor:
    """Return the shares of the loss that the easiest logits have, for each of :data:`GAMMAS`.

    Args:
        z: (S,), see :func:`wrong_logits`.
        most: number of points.

    Returns:
        (G, ``most``), from 0 to 1: the share of the loss of the easiest part of the logits, for
        parts from 0 to 1. NaN without logits.
    """
    if not len(z):
        return torch.full((len(GAMMAS), most), math.nan, dtype=torch.float64)
    z = z.sort().values  # the loss rises with z
    ends = torch.linspace(0, len(z), most).round().long()
    rows = []
    for gamma in GAMMAS:
        total = focal_terms(z.clone(), gamma)[0].cumsum(0)
        total = torch.cat([total.new_zeros(1), total])
        rows.append(total[ends] / total[-1])
    return torch.stack(rows)
