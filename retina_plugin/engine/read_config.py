"""The first steps of every tool and every run: from a file and overrides to a checked config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from retina_plugin.config import check_rules
from retina_plugin.engine.checks import prepare_data, resolve_device
from retina_plugin.modeling.build_backbone import take_pixels_of_timm


def read_config(cfg: Any, config_file: str | None, overrides: Sequence[Any]) -> Any:
    """Merge a file and overrides into ``cfg``, import the modules that they name, check every key,
    and set what the machine and the backbone decide.

    Args:
        cfg: either host's tree of defaults; changed.
        config_file: a YAML file, or None for the defaults.
        overrides: ``[KEY, VALUE, KEY, VALUE, ...]``.

    Returns:
        ``cfg``, not frozen; the number of classes may still be -1.

    Raises:
        ConfigError: a file, key or value that cannot be used.
        ImportError: the backbone's library is missing.
    """
    if config_file:
        cfg.merge_from_file(config_file)
    cfg.merge_from_list(list(overrides))
    check_rules(cfg)
    prepare_data(cfg)
    resolve_device(cfg)
    take_pixels_of_timm(cfg)
    return cfg
