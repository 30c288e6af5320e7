"""New names of the modules of version 0.1 that plugins import."""

from __future__ import annotations

# Old name -> new name, both within ``retina_plugin``.
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
    """Return the new name of a module of version 0.1; "" if version 0.1 had no such module."""
    package, _, old = module.partition(".")
    new = MOVED.get(old.partition(".")[0], "") if package == "retina_plugin" else ""
    return new and f"{package}.{new}"
