"""RetinaNet with focal loss, on Detectron2, or on Lightning if Detectron2 is not installed.

``import retina_plugin`` does not import Detectron2. It registers the backbones, the head and the
meta-architecture in Detectron2: at once if Detectron2 is already imported, else when it is.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from retina_plugin.engine.hosts import register_in_detectron2

if TYPE_CHECKING:
    from retina_plugin.checkpoint import load_weights
    from retina_plugin.engine.launch import train
    from retina_plugin.inference.load import load
    from retina_plugin.modeling.build import build_model

__version__ = "0.1.0"
__all__ = ["__version__", "build_model", "get_cfg", "load", "load_weights", "train"]

_LAZY = {
    "build_model": "retina_plugin.modeling.build",
    "load": "retina_plugin.inference.load",
    "load_weights": "retina_plugin.checkpoint",
    "train": "retina_plugin.engine.launch",
}


def get_cfg() -> Any:
    """Return a config with all defaults.

    If Detectron2 can be used, this is its config with the keys of this package added. Otherwise the
    config has only the keys that runs on Lightning read.
    """
    from retina_plugin.engine import hosts

    module = "retina_plugin.d2" if hosts.detectron2_problem() is None else "retina_plugin.config"
    return importlib.import_module(module).get_cfg()


def __getattr__(name: str) -> Any:  # imports torch and the model code on first use only
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name == "d2":
        return importlib.import_module("retina_plugin.d2")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


register_in_detectron2()
