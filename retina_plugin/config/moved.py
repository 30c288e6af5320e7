"""Modules of version 0.1 that plugins imported, and what they are called now, within
``retina_plugin``."""

from __future__ import annotations

MOVED = {
    "activations": "layers.activations",
    "anchors": "modeling.anchors",
    "backbones": "modeling.backbones",
    "boxes": "layers.boxes",
    "builders": "modeling",
    "dense": "modeling.postprocessing",
    "head": "modeling.heads",
    "matching": "modeling.assigners",
    "model": "modeling.retinanet",
    "necks": "modeling.necks",
    "nms": "layers.nms",
    "norms": "layers.norms",
    "outputs": "modeling.structures",
    "registry": "config.registry",
    "weights": "checkpoint",
}


def new_module_name(module: str) -> str:
    """What a module that is not there is called now; "" for one that never was."""
    package, _, old = module.partition(".")
    new = MOVED.get(old.partition(".")[0], "") if package == "retina_plugin" else ""
    return new and f"{package}.{new}"
