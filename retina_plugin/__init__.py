"""RetinaNet with focal loss, plugged into Detectron2, or into Lightning where Detectron2 is not to
be had.

``import retina_plugin`` registers every backbone, the head and the meta-architecture in Detectron2
when Detectron2 is imported too, before or after it. It does not import Detectron2 itself.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from retina_plugin.engine.hosts import register_in_detectron2

if TYPE_CHECKING:
    from retina_plugin.checkpoint import load_weights
    from retina_plugin.engine.launch import train
    from retina_plugin.modeling.build import build_model

__version__ = "0.1.0"
__all__ = ["__version__", "build_model", "get_cfg", "load_weights", "train"]

_LAZY = {
    "build_model": "retina_plugin.modeling.build",
    "load_weights": "retina_plugin.checkpoint",
    "train": "retina_plugin.engine.launch",
}


def get_cfg() -> Any:
    """A config tree with every key at its default: Detectron2's own tree where it is installed,
    else one of the same keys."""
    from retina_plugin.engine import hosts

    module = "retina_plugin.d2" if hosts.detectron2_problem() is None else "retina_plugin.config"
    return importlib.import_module(module).get_cfg()


def __getattr__(name: str) -> Any:  # so that importing the package does not build the whole of it
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name == "d2":
        return importlib.import_module("retina_plugin.d2")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


register_in_detectron2()
