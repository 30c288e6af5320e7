"""Necks: feature pyramids that compute levels P3..P7 from the maps C3..C5 of a backbone.

A neck that is registered as ``<neck>`` becomes part of the backbones
``build_retina_<backbone>_<neck>_backbone``.
"""

from retina_plugin.modeling.necks.bifpn import BiFPN
from retina_plugin.modeling.necks.fpn import FPN
from retina_plugin.modeling.necks.pafpn import PAFPN
from retina_plugin.modeling.necks.pyramid import NECK_REGISTRY, Pyramid

__all__ = ["FPN", "NECK_REGISTRY", "PAFPN", "BiFPN", "Pyramid"]
