"""Configs of a few ``SOLVER`` keys."""

from __future__ import annotations

from typing import Any

from retina_plugin.config import CfgNode, get_cfg


def cfg_of(**solver: Any) -> CfgNode:
    """The default config with the given keys of ``SOLVER``; ``__`` stands for a dot."""
    cfg = get_cfg()
    for key, value in solver.items():
        cfg.merge_from_list([f"SOLVER.{key.replace('__', '.')}", value])
    return cfg
