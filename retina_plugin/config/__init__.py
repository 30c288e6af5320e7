"""Keys, their rules, registries, and files written whole. What needs fvcore or yaml is loaded on
first use."""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    return getattr(importlib.import_module("retina_plugin.config.node"), name)
