"""The detector: its parts, their data types, and the functions that build it from a config."""

from retina_plugin.losses import BOX_LOSSES, CLASS_LOSSES
from retina_plugin.modeling.assigners import ASSIGNER_REGISTRY
from retina_plugin.modeling.box_coders import BOX_CODERS
from retina_plugin.modeling.build import build_model
from retina_plugin.modeling.build_backbone import BACKBONE_REGISTRY
from retina_plugin.modeling.criterion import CRITERIA
from retina_plugin.modeling.distribution_coder import DistributionCoder
from retina_plugin.modeling.heads import RETINA_HEAD_REGISTRY
from retina_plugin.modeling.necks import NECK_REGISTRY
from retina_plugin.modeling.retinanet import RetinaNet
from retina_plugin.modeling.structures import Anchors, Assignment, Predictions
from retina_plugin.modeling.suppressors import SUPPRESSORS

__all__ = [
    "ASSIGNER_REGISTRY",
    "BACKBONE_REGISTRY",
    "BOX_CODERS",
    "BOX_LOSSES",
    "CLASS_LOSSES",
    "CRITERIA",
    "NECK_REGISTRY",
    "RETINA_HEAD_REGISTRY",
    "SUPPRESSORS",
    "Anchors",
    "Assignment",
    "DistributionCoder",
    "Predictions",
    "RetinaNet",
    "build_model",
]
