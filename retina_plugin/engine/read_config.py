"""Read, complete and check the config of a tool or a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from retina_plugin.config import add_keys, check_rules, leaves
from retina_plugin.config.imports import part_keys_of
from retina_plugin.engine.checks import prepare_data, resolve_device
from retina_plugin.engine.trackers.registry import check_tracker_names
from retina_plugin.modeling.build_backbone import import_plugins, set_timm_pixel_constants


def read_config(cfg: Any, config_file: str | None, overrides: Sequence[Any]) -> Any:
    """Call :func:`merge` and then :func:`complete_config`.

    Returns:
        ``cfg``, not frozen. The number of classes may still be -1.
    """
    return complete_config(merge(cfg, config_file, overrides))


def merge(cfg: Any, config_file: str | None, overrides: Sequence[Any]) -> Any:
    """Merge a file and overrides into ``cfg``, and import the modules that they name.

    Args:
        cfg: the default config of a host; changed in place.
        config_file: a YAML file, the name of a packaged config, or None for the defaults.
        overrides: ``[KEY, VALUE, KEY, VALUE, ...]``.

    Returns:
        ``cfg``.

    Raises:
        ConfigError: a file or key cannot be used.
    """
    if config_file:
        cfg.merge_from_file(config_file)
    cfg.merge_from_list(list(overrides))
    return cfg


def _add_keys_of_plugins(cfg: Any) -> None:
    import_plugins(cfg)  # merging imports them too, but not in every rank
    add_keys(cfg, part_keys_of(cfg))


# The steps of complete_config in order, each with the reason to print for the values it changes.
_STEPS: tuple[tuple[Callable[[Any], None], str], ...] = (
    (_add_keys_of_plugins, "the keys of a part"),
    (check_rules, "the rules of keys"),
    (check_tracker_names, "the trackers"),
    (prepare_data, "the data sets"),
    (resolve_device, "no GPU is available"),
    (set_timm_pixel_constants, "the pixel statistics of the backbone's weights"),
)


def complete_config(cfg: Any) -> Any:
    """Check a merged config, and set values that depend on plugins, machine and backbone.

    Imports the modules of ``IMPORTS``, adds missing keys of their parts and checks all values. A
    second call changes nothing.

    Args:
        cfg: a merged config; changed in place.

    Returns:
        ``cfg``.

    Raises:
        ConfigError: a value cannot be used.
        ImportError: a module of ``IMPORTS`` or the backbone's library is missing.
    """
    for step, _ in _STEPS:
        step(cfg)
    return cfg


def complete_config_with_reasons(cfg: Any) -> dict[str, str]:
    """Call :func:`complete_config`; return the reason for each key whose value it changed."""
    reasons: dict[str, str] = {}
    for step, reason in _STEPS:
        before = dict(leaves(cfg))
        step(cfg)
        reasons |= {key: reason for key, value in leaves(cfg) if value != before.get(key)}
    return reasons
