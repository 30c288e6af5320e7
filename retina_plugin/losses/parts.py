"""The class losses that a config chooses by ``MODEL.RETINA_PLUGIN.CLASS_LOSS.NAME``.

``docs/plugin.md`` describes how to add a class loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from retina_plugin.config.errors import ConfigError
from retina_plugin.config.registry import Registry
from retina_plugin.losses.class_losses import (
    balanced_cross_entropy,
    sigmoid_cross_entropy,
    sigmoid_focal_loss,
    sigmoid_focal_star_loss,
    sigmoid_quality_focal_loss,
    sigmoid_varifocal_loss,
)


def _alpha(cfg: Any) -> float | list[float] | None:
    """Return ``FOCAL_LOSS_ALPHA``; None if it is ``auto`` and not yet replaced by numbers.

    Raises:
        ConfigError: if a list does not have one weight for each class.
    """
    retinanet = cfg.MODEL.RETINANET
    alpha = retinanet.FOCAL_LOSS_ALPHA
    if isinstance(alpha, (list, tuple)) and len(alpha) != retinanet.NUM_CLASSES:
        raise ConfigError(
            f"MODEL.RETINANET.FOCAL_LOSS_ALPHA has {len(alpha)} weights, and "
            f"MODEL.RETINANET.NUM_CLASSES is {retinanet.NUM_CLASSES}: give one for each class, or "
            "a number, or auto"
        )
    weights: float | list[float] | None = None if alpha == "auto" else alpha
    return weights


CLASS_LOSSES = Registry(
    "class loss",
    node="MODEL.RETINA_PLUGIN.CLASS_LOSS",
    config_arguments={"alpha": _alpha, "gamma": "MODEL.RETINANET.FOCAL_LOSS_GAMMA"},
)


class ClassLoss(nn.Module):
    """Base class of class losses: stores the class weights and calls :attr:`loss`.

    Attributes:
        takes_quality: whether :attr:`loss` also takes ``quality``, soft targets of the positives.
    """

    takes_quality = False
    loss: Callable[..., Tensor]  # (logits, labels, *, alpha, gamma, reduction) -> loss

    def __init__(self, *, alpha: float | Sequence[float] | None, gamma: float) -> None:
        """
        Args:
            alpha: see :func:`retina_plugin.losses.sigmoid_focal_loss`; may also be a list with one
                weight for each class. With None, the model can detect but not train.
            gamma: see :func:`retina_plugin.losses.sigmoid_focal_loss`.
        """
        super().__init__()
        self.gamma = gamma
        self.alpha = None if isinstance(alpha, Sequence) else alpha
        per_class = torch.tensor(alpha) if isinstance(alpha, Sequence) else None
        # not persistent: Detectron2's RetinaNet has no such buffer
        self.register_buffer("class_alpha", per_class, persistent=False)

    def forward(
        self,
        logits: Tensor,
        labels: Tensor,
        *,
        quality: Tensor | None = None,
        reduction: str = "sum",
    ) -> Tensor:
        """Compute the loss; see :func:`retina_plugin.losses.sigmoid_focal_loss`.

        Args:
            quality: (R,), see :func:`retina_plugin.losses.sigmoid_quality_focal_loss`; only for
                losses with :attr:`takes_quality`.

        Raises:
            ValueError: also if ``alpha`` is None.
        """
        alpha = self.alpha if self.class_alpha is None else self.class_alpha
        if alpha is None:
            raise ValueError(
                "this model cannot train: it was built with MODEL.RETINANET.FOCAL_LOSS_ALPHA auto. "
                "Replace auto by numbers before building the model, as "
                "retina_plugin.engine.checks.resolve_alpha does"
            )
        soft = {} if quality is None else {"quality": quality}
        return self.loss(logits, labels, alpha=alpha, gamma=self.gamma, reduction=reduction, **soft)


@CLASS_LOSSES.register("ce")
class CrossEntropy(ClassLoss):
    """Cross entropy, without weights."""

    loss = staticmethod(sigmoid_cross_entropy)


@CLASS_LOSSES.register("balanced_ce")
class BalancedCrossEntropy(ClassLoss):
    """Cross entropy with weights of positives and negatives."""

    loss = staticmethod(balanced_cross_entropy)


@CLASS_LOSSES.register("focal")
class FocalLoss(ClassLoss):
    """Focal loss (arXiv 1708.02002, section 3.2)."""

    loss = staticmethod(sigmoid_focal_loss)


@CLASS_LOSSES.register("focal_star")
class FocalStarLoss(ClassLoss):
    """Focal loss* (arXiv 1708.02002, appendix A)."""

    loss = staticmethod(sigmoid_focal_star_loss)


@CLASS_LOSSES.register("quality_focal")
class QualityFocalLoss(ClassLoss):
    """Quality focal loss (arXiv 2006.04388), without weights."""

    takes_quality = True
    loss = staticmethod(sigmoid_quality_focal_loss)


@CLASS_LOSSES.register("varifocal")
class VarifocalLoss(ClassLoss):
    """Varifocal loss (arXiv 2008.13367)."""

    takes_quality = True
    loss = staticmethod(sigmoid_varifocal_loss)
