"""Detectron2's config tree with this project's node in it."""

from __future__ import annotations

from detectron2.config import CfgNode as Detectron2CfgNode
from detectron2.config import get_cfg as detectron2_cfg

from retina_plugin.config.errors import ConfigError
from retina_plugin.config.imports import part_keys
from retina_plugin.config.key import Key
from retina_plugin.config.keys import DETECTRON2_KEYS, PLUGIN_KEYS, RENAMED
from retina_plugin.config.node import SafeMerge
from retina_plugin.config.tree import add_keys, leaves


class CfgNode(SafeMerge, Detectron2CfgNode):
    """Detectron2's config tree with safe merging and errors that name the nearest key."""


def add_retina_config(cfg: Detectron2CfgNode) -> None:
    """Add ``MODEL.RETINA_PLUGIN`` to a Detectron2 config, with the keys of all registered parts.

    A second call adds the keys of parts that were registered in between; values stay.

    ``cfg`` still reads files as Detectron2 does. It does not import the modules of ``IMPORTS``, it
    takes ``IMPORTS`` from the last file that sets it instead of collecting them, and it refuses the
    key names of version 0.1 with an error that gives the present names. A config of :func:`get_cfg`
    imports and collects ``IMPORTS`` and reads the old names.

    Raises:
        ConfigError: ``cfg`` is frozen.
    """
    if cfg.is_frozen():
        raise ConfigError("the config is frozen: call add_retina_config(cfg) before cfg.freeze()")
    nodes = {key.rpartition(".")[0] for key in PLUGIN_KEYS}
    for old, new in RENAMED.items():
        if old not in nodes and not cfg.key_is_renamed(old):
            cfg.register_renamed_key(old, new)
    add_keys(cfg, PLUGIN_KEYS)
    add_keys(cfg, part_keys(None))


def get_cfg() -> CfgNode:
    """Return Detectron2's default config with ``MODEL.RETINA_PLUGIN`` added."""
    cfg = CfgNode(detectron2_cfg())
    add_keys(cfg, DETECTRON2_KEYS)  # older versions of Detectron2 lack some of them
    add_keys(cfg, PLUGIN_KEYS)
    add_keys(cfg, part_keys([]))  # the keys of IMPORTS are added when a file is merged
    return cfg


def portable(cfg: Detectron2CfgNode) -> Detectron2CfgNode:
    """Return ``cfg`` without the keys that only Detectron2 has and that are at their defaults, so
    that both hosts can read it."""
    default, kept = dict(leaves(detectron2_cfg())), CfgNode()
    keys = {
        k: Key(v, "")
        for k, v in leaves(cfg)
        if k in DETECTRON2_KEYS or default.get(k, ()) != v or k not in default
    }
    add_keys(kept, keys)
    return kept
