"""Backbones: image -> feature maps by name."""

from retina_plugin.modeling.backbones.feature import Backbone, Origin, ShapeSpec
from retina_plugin.modeling.backbones.resnet import ResNet, build_resnet
from retina_plugin.modeling.backbones.timm import Timm

__all__ = ["Backbone", "Origin", "ResNet", "ShapeSpec", "Timm", "build_resnet"]
