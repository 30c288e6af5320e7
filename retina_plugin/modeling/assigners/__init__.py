"""Assigners, which assign ground-truth boxes to anchors."""

from retina_plugin.modeling.assigners.atss import ATSSAssigner
from retina_plugin.modeling.assigners.max_iou import MaxIoUAssigner, match_anchors
from retina_plugin.modeling.assigners.registry import ASSIGNER_REGISTRY, Assigner
from retina_plugin.modeling.assigners.task_aligned import TaskAlignedAssigner

__all__ = [
    "ASSIGNER_REGISTRY",
    "ATSSAssigner",
    "Assigner",
    "MaxIoUAssigner",
    "TaskAlignedAssigner",
    "match_anchors",
]
