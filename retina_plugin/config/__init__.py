"""Config keys, rules for their values, registries of parts, and atomic writing of files. Names that
need fvcore or yaml are imported on first use."""

from __future__ import annotations

import importlib
from typing import Any

from retina_plugin.config.checks import check_rules as check_rules
from retina_plugin.config.errors import ConfigError
from retina_plugin.config.key import Key
from retina_plugin.config.keys import DETECTRON2_KEYS, NODE, PLUGIN_KEYS
from retina_plugin.config.registry import Registry
from retina_plugin.config.rules import (
    Rule,
    above,
    at_least,
    at_most,
    below,
    between,
    by_level,
    different,
    list_of,
    one_of,
    text,
    whole,
)
from retina_plugin.config.tree import add_keys, leaves

__all__ = [
    "DETECTRON2_KEYS",
    "NODE",
    "PLUGIN_KEYS",
    "ConfigError",
    "Key",
    "Registry",
    "Rule",
    "above",
    "add_keys",
    "at_least",
    "at_most",
    "below",
    "between",
    "by_level",
    "check_rules",
    "different",
    "leaves",
    "list_of",
    "one_of",
    "text",
    "whole",
]

_LAZY = ("CfgNode", "SafeMerge", "MULTI_TYPE_KEYS", "get_cfg")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module("retina_plugin.config.node"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
