"""Modules of version 0.1 that plugins imported, and what they are called now."""

from __future__ import annotations

MOVED = {
    "retina_plugin.activations": "retina_plugin.layers.activations",
    "retina_plugin.anchors": "retina_plugin.modeling.anchors",
    "retina_plugin.backbones": "retina_plugin.modeling.backbones",
    "retina_plugin.boxes": "retina_plugin.layers.boxes and retina_plugin.modeling.box_coders",
    "retina_plugin.builders": "retina_plugin.modeling",
    "retina_plugin.dense": "retina_plugin.modeling.postprocessing",
    "retina_plugin.head": "retina_plugin.modeling.heads",
    "retina_plugin.matching": "retina_plugin.modeling.assigners",
    "retina_plugin.model": "retina_plugin.modeling.retinanet",
    "retina_plugin.necks": "retina_plugin.modeling.necks",
    "retina_plugin.nms": "retina_plugin.layers.nms",
    "retina_plugin.norms": "retina_plugin.layers.norms",
    "retina_plugin.outputs": "retina_plugin.modeling.structures",
    "retina_plugin.registry": "retina_plugin.config.registry",
    "retina_plugin.weights": "retina_plugin.checkpoint",
}


def name_now(module: str) -> str:
    """What a module that is not there is called now; "" for one that never was."""
    for old, new in MOVED.items():
        if module == old or module.startswith(f"{old}."):
            return new
    return ""
