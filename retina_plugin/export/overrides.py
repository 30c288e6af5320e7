"""Override config values of an exported file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from retina_plugin.config import leaves
from retina_plugin.config.errors import ConfigError
from retina_plugin.export.description import CONFIG_KEYS

READING = ("MODEL.RETINA_PLUGIN.INPUT.PIXEL_RANGE", "MODEL.RETINA_PLUGIN.INPUT.MAX_PIXELS")


def merge_overrides(cfg: Any, overrides: Sequence[Any], path: str) -> None:
    """Merge overrides; refuse those that the file cannot follow, which would have no effect.

    Args:
        cfg: the config of the file.
        overrides: ``[KEY, VALUE, ...]`` of keys that say how data are read.
        path: the file, for messages.

    Raises:
        ConfigError: a key does not exist, or the file has a fixed value of it.
    """
    before = dict(leaves(cfg))
    cfg.merge_from_list(list(overrides))
    for key, value in leaves(cfg):
        if before.get(key) != value and _is_fixed(key):
            raise ConfigError(
                f"{path} is an exported file, whose values are fixed: expected {key} "
                f"{before.get(key)!r}, found {value!r}. Export the checkpoint with this value"
            )


def _is_fixed(key: str) -> bool:
    """Return whether a key decides what the network computes, or what happens around it."""
    if key in READING:
        return False
    own = key.startswith("MODEL.RETINA_PLUGIN.")
    described = any(key == name or key.startswith(f"{name}.") for name in CONFIG_KEYS)
    return described or (key.startswith(("MODEL.", "INPUT.")) and not own)
