"""Heads, which predict class logits and box deltas for all anchors from the pyramid levels."""

from retina_plugin.modeling.heads.registry import RETINA_HEAD_REGISTRY
from retina_plugin.modeling.heads.retina_head import RetinaHead

__all__ = ["RETINA_HEAD_REGISTRY", "RetinaHead"]
