"""Assigners, which assign ground-truth boxes to anchors."""

from retina_plugin.modeling.assigners.max_iou import MaxIoUAssigner, match_anchors
from retina_plugin.modeling.assigners.registry import ASSIGNER_REGISTRY, Assigner

__all__ = ["ASSIGNER_REGISTRY", "Assigner", "MaxIoUAssigner", "match_anchors"]
