"""Detectron2's config tree with this project's node in it."""

from __future__ import annotations

from detectron2.config import CfgNode as Detectron2CfgNode
from detectron2.config import get_cfg as detectron2_cfg

from retina_plugin.config import SafeMerge
from retina_plugin.config.errors import ConfigError
from retina_plugin.config.imports import part_keys
from retina_plugin.config.key import Key
from retina_plugin.config.keys import DETECTRON2_KEYS, PLUGIN_KEYS, RENAMED
from retina_plugin.config.tree import add_keys, leaves


class CfgNode(SafeMerge, Detectron2CfgNode):
    """Detectron2's config tree with safe merging and errors that name the nearest key."""


def add_retina_config(cfg: Detectron2CfgNode) -> None:
    """Add ``MODEL.RETINA_PLUGIN`` to any Detectron2 config, with the keys of all parts that are
    registered now. A second call adds those of parts that came since; values stay.

    ``cfg`` then reads files as Detectron2 does: it does not import what ``IMPORTS`` names, which
    comes from the last file that has it, and refuses names of version 0.1 with the names of today.
    :func:`get_cfg` gives a config that does all of that itself.

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
    """Detectron2's defaults plus ``MODEL.RETINA_PLUGIN``, and what this project reads of newer
    versions of Detectron2."""
    cfg = CfgNode(detectron2_cfg())
    add_keys(cfg, DETECTRON2_KEYS)  # of them, an older Detectron2 lacks some
    add_keys(cfg, PLUGIN_KEYS)
    add_keys(cfg, part_keys([]))  # others come with MODEL.RETINA_PLUGIN.IMPORTS
    return cfg


def portable(cfg: Detectron2CfgNode) -> Detectron2CfgNode:
    """``cfg`` without the keys that have Detectron2's default and that only Detectron2 knows, so
    that either host reads it."""
    default, kept = dict(leaves(detectron2_cfg())), CfgNode()
    keys = {
        k: Key(v, "")
        for k, v in leaves(cfg)
        if k in DETECTRON2_KEYS or default.get(k, ()) != v or k not in default
    }
    add_keys(kept, keys)
    return kept
