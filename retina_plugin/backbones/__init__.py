"""Backbones: image -> feature maps by name."""

from retina_plugin.backbones.feature import Backbone, Origin, ShapeSpec
from retina_plugin.backbones.resnet import ResNet, build_resnet
from retina_plugin.backbones.timm import Timm

__all__ = ["Backbone", "Origin", "ResNet", "ShapeSpec", "Timm", "build_resnet"]
