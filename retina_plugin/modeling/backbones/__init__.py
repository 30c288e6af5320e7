"""Backbones, which compute feature maps from images."""

from retina_plugin.modeling.backbones.feature import Backbone, ShapeSpec, WeightSource
from retina_plugin.modeling.backbones.resnet import ResNet, build_resnet
from retina_plugin.modeling.backbones.timm import TimmBackbone

__all__ = ["Backbone", "ResNet", "ShapeSpec", "TimmBackbone", "WeightSource", "build_resnet"]
