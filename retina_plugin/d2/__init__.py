"""Detectron2 as the host. Importing this package registers backbones, meta-architecture and data
sets in Detectron2's registries."""

from retina_plugin.d2.config import add_retina_config, get_cfg
from retina_plugin.d2.datasets import register_datasets
from retina_plugin.d2.modeling import FocalRetinaNet, register_backbones

register_backbones()
register_datasets()

__all__ = ["FocalRetinaNet", "add_retina_config", "get_cfg"]
