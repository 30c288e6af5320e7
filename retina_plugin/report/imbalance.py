"""Compute the shares of easy and hard examples in the loss, for given numbers of examples and for
the anchors of a trained model.

Axes: R anchors of some images, K classes, G values of gamma.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from retina_plugin.data import read_record
from retina_plugin.losses import (
    auto_alpha,
    cross_entropy_terms,
    derivatives,
    focal_star_terms,
    focal_terms,
    sigmoid_focal_loss,
)
from retina_plugin.losses.one_pass import NO_WEIGHTS
from retina_plugin.losses.terms import Terms
from retina_plugin.modeling.criterion import DenseCriterion
from retina_plugin.modeling.retinanet import RetinaNet, evaluation_mode
from retina_plugin.modeling.structures import Target

EASY, HARD = (100_000, 0.1), (100, 2.3)  # (number of examples, cross entropy of each)


@dataclass(frozen=True)
class LossVariant:
    """A loss with its settings, for the example in docs/theory.md.

    Attributes:
        name: name in the figure.
        terms: the loss function, see :mod:`retina_plugin.losses`.
        gamma: the focusing parameter.
        weights: weight of an easy example (background) and of a hard one (object).
    """

    name: str
    terms: Terms
    gamma: float = 0.0
    weights: Sequence[float] = (1.0, 1.0)


def loss_variants() -> list[LossVariant]:
    """Return the loss variants of docs/theory.md, from cross entropy to focal loss.

    The weight of objects is the paper's: 0.75 without focusing and 0.25 with it. Weights from
    frequencies treat easy and hard examples as two classes.
    """
    counts = [EASY[0], HARD[0]]
    inverse, auto = auto_alpha(counts, power=1, clip=(0, 1)), auto_alpha(counts)
    focal = [
        LossVariant(f"focal, gamma {g:g}, alpha 0.25", focal_terms, g, (0.75, 0.25))
        for g in (0.5, 1.0, 2.0, 5.0)
    ]
    return [
        LossVariant("cross entropy", cross_entropy_terms),
        LossVariant("balanced, alpha 0.75", cross_entropy_terms, weights=(0.25, 0.75)),
        LossVariant("balanced, alpha = 1 / (f + eps)", cross_entropy_terms, weights=inverse),
        LossVariant("balanced, alpha auto", cross_entropy_terms, weights=auto),
        *focal,
        LossVariant("focal*, gamma 2, alpha 0.25", focal_star_terms, 2.0, (0.75, 0.25)),
    ]


def easy_to_hard(variant: LossVariant) -> float:
    """Return the loss of all easy examples divided by the loss of all hard ones."""
    easy, hard = (
        count
        * derivatives.value(
            _probability(loss), variant.terms, gamma=variant.gamma, alpha=weight
        ).item()
        for (count, loss), weight in zip((EASY, HARD), variant.weights, strict=True)
    )
    return easy / hard


def _probability(cross_entropy: float) -> Tensor:
    return torch.tensor(math.exp(-cross_entropy), dtype=torch.float64)


def cumulative_share(losses: Tensor) -> Tensor:
    """Return the share of the total loss of the easiest 0, 1, 2, ..., R examples.

    Args:
        losses: (R,), not negative.

    Returns:
        (R + 1,) float64, increasing from 0 to 1.

    Raises:
        ValueError: the total loss is 0.
    """
    cumulative = torch.cat(
        [losses.new_zeros(1, dtype=torch.float64), losses.double().sort().values.cumsum(0)]
    )
    if not cumulative[-1] > 0:
        raise ValueError(f"the total loss of {len(losses)} examples is 0")
    return cumulative / cumulative[-1]


@torch.no_grad()
def anchor_losses(
    model: RetinaNet,
    records: Iterable[Mapping[str, Any]],
    *,
    gammas: Sequence[float],
    options: Mapping[str, Any] | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute the focal loss of every anchor of some images at several gammas, with alpha 1.

    The model's assigner gives the labels. The loss of an anchor is the sum over its K logits.

    Args:
        model: a trained model.
        records: see :class:`retina_plugin.data.Dataset`; images are resized as for evaluation.
        gammas: G values of gamma.
        options: arguments for reading images, see :func:`retina_plugin.data.image_options`.

    Returns:
        Losses of positive anchors (G, P) and of negative anchors (G, B), without ignored anchors;
        P may be 0.
    """
    losses_of_images: list[tuple[Tensor, Tensor]] = []
    for found in labelled_logits(model, records, **(options or {})):
        rows = _focal_losses(found.logits, found.labels, gammas)
        background = (found.labels == model.num_classes).cpu()
        objects = (found.labels >= 0).cpu() & ~background
        losses_of_images.append((rows[:, objects], rows[:, background]))
    objects, background = (torch.cat(parts, dim=1) for parts in zip(*losses_of_images, strict=True))
    return objects, background


class LabelledLogits(NamedTuple):
    """The class logits of an image and their labels.

    Attributes:
        logits: (R, K).
        labels: (R,) int64, see :func:`retina_plugin.losses.sigmoid_focal_loss`.
        counts: number of anchors in each level, L numbers.
    """

    logits: Tensor
    labels: Tensor
    counts: tuple[int, ...]


@torch.no_grad()
def labelled_logits(
    model: RetinaNet, records: Iterable[Mapping[str, Any]], **options: Any
) -> Iterator[LabelledLogits]:
    """Yield the logits of each image, with the labels of the model's assigner.

    Args:
        model: a trained model.
        records: see :class:`retina_plugin.data.Dataset`; images are resized as for evaluation.
        options: arguments for reading images, see :func:`retina_plugin.data.image_options`.

    Raises:
        ValueError: the assigner gives soft class targets.
    """
    criterion = cast(DenseCriterion, model.criterion)  # or another criterion with ``labels``
    with evaluation_mode(model):
        for record in records:
            image, target = _resized_sample(model, record, **options)
            predictions, anchors = model.predict_dense(model.preprocess([image])[0])
            assignment = model.assigner(anchors, [target], predictions)
            labels = criterion.labels(assignment, [target])[0]
            yield LabelledLogits(predictions.logits[0], labels, anchors.counts)


def _focal_losses(logits: Tensor, labels: Tensor, gammas: Sequence[float]) -> Tensor:
    """Return the loss (G, R) of each anchor at each gamma, on the CPU.

    Args:
        logits: (R, K).
        labels: (R,), see :func:`retina_plugin.losses.sigmoid_focal_loss`.
        gammas: G values of gamma.
    """
    losses = [
        sigmoid_focal_loss(logits, labels, alpha=NO_WEIGHTS, gamma=gamma, reduction="none")
        for gamma in gammas
    ]
    return torch.stack([loss.sum(dim=1) for loss in losses]).cpu()


def _resized_sample(
    model: RetinaNet, record: Mapping[str, Any], **options: Any
) -> tuple[Tensor, Target]:
    """Return an image and its boxes, resized as for evaluation; crowds are left out."""
    image = torch.tensor(read_record(record, **options)).permute(2, 0, 1)
    resized = model.preprocessor.from_file(image)
    scale_y, scale_x = resized.shape[1] / image.shape[1], resized.shape[2] / image.shape[2]
    objects = [a for a in record["annotations"] if not a["iscrowd"]]
    boxes = torch.tensor(
        [a["bbox"] for a in objects], device=model.device, dtype=torch.float32
    ).view(-1, 4)
    labels = torch.tensor(
        [a["category_id"] for a in objects], device=model.device, dtype=torch.int64
    )
    return resized, {
        "boxes": boxes * boxes.new_tensor([scale_x, scale_y, scale_x, scale_y]),
        "labels": labels,
    }
