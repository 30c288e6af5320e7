"""Class losses, box losses and the loss normaliser of RetinaNet."""

from retina_plugin.losses import derivatives
from retina_plugin.losses.alpha import auto_alpha
from retina_plugin.losses.box import BOX_LOSSES, BoxLoss, smooth_l1_loss
from retina_plugin.losses.class_losses import (
    balanced_cross_entropy,
    sigmoid_cross_entropy,
    sigmoid_focal_loss,
    sigmoid_focal_star_loss,
    sigmoid_quality_focal_loss,
    sigmoid_varifocal_loss,
)
from retina_plugin.losses.distribution import distribution_focal_loss
from retina_plugin.losses.normalizer import (
    INITIAL,
    rank_normalizer,
    sum_over_ranks,
    update_normalizer,
)
from retina_plugin.losses.one_pass import sigmoid_loss
from retina_plugin.losses.parts import CLASS_LOSSES, ClassLoss
from retina_plugin.losses.prior import auto_prior
from retina_plugin.losses.soft_terms import SoftTerms, quality_focal_terms, varifocal_terms
from retina_plugin.losses.terms import cross_entropy_terms, focal_star_terms, focal_terms

__all__ = [
    "BOX_LOSSES",
    "CLASS_LOSSES",
    "INITIAL",
    "BoxLoss",
    "ClassLoss",
    "SoftTerms",
    "auto_alpha",
    "auto_prior",
    "balanced_cross_entropy",
    "cross_entropy_terms",
    "derivatives",
    "distribution_focal_loss",
    "focal_star_terms",
    "focal_terms",
    "quality_focal_terms",
    "rank_normalizer",
    "sigmoid_cross_entropy",
    "sigmoid_focal_loss",
    "sigmoid_focal_star_loss",
    "sigmoid_loss",
    "sigmoid_quality_focal_loss",
    "sigmoid_varifocal_loss",
    "smooth_l1_loss",
    "sum_over_ranks",
    "update_normalizer",
    "varifocal_terms",
]
