"""The first steps of every tool and every run: from a file and overrides to a checked config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from retina_plugin.config import add_keys, check_rules
from retina_plugin.config.imports import rows_of
from retina_plugin.engine.checks import prepare_data, resolve_device
from retina_plugin.modeling.build_backbone import import_plugins, take_pixels_of_timm


def read_config(cfg: Any, config_file: str | None, overrides: Sequence[Any]) -> Any:
    """:func:`merge` and :func:`settle`; for tools.

    Returns:
        ``cfg``, not frozen; the number of classes may still be -1.
    """
    return settle(merge(cfg, config_file, overrides))


def merge(cfg: Any, config_file: str | None, overrides: Sequence[Any]) -> Any:
    """Merge a file and overrides into ``cfg``, and import the modules that they name.

    Args:
        cfg: either host's tree of defaults; changed.
        config_file: a YAML file, or None for the defaults.
        overrides: ``[KEY, VALUE, KEY, VALUE, ...]``.

    Returns:
        ``cfg``.

    Raises:
        ConfigError: a file or key that cannot be used.
    """
    if config_file:
        cfg.merge_from_file(config_file)
    cfg.merge_from_list(list(overrides))
    return cfg


def settle(cfg: Any) -> Any:
    """Import the modules of ``IMPORTS``, add the keys of their parts that are missing, check every
    key, and set what the machine and the backbone decide. A second call changes nothing.

    Args:
        cfg: merged; changed.

    Returns:
        ``cfg``.

    Raises:
        ConfigError: a value that cannot be used.
        ImportError: the backbone's library is missing.
    """
    import_plugins(cfg)  # a rank, or IMPORTS that was set without a merge, has not done so
    add_keys(cfg, rows_of(cfg))
    check_rules(cfg)
    prepare_data(cfg)
    resolve_device(cfg)
    take_pixels_of_timm(cfg)
    return cfg
