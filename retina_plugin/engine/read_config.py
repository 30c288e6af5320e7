"""The first steps of every tool and every run: from a file and overrides to a checked config."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from retina_plugin.config import add_keys, check_rules, leaves
from retina_plugin.config.imports import part_keys_of
from retina_plugin.engine.checks import prepare_data, resolve_device
from retina_plugin.modeling.build_backbone import import_plugins, set_timm_pixel_constants


def read_config(cfg: Any, config_file: str | None, overrides: Sequence[Any]) -> Any:
    """:func:`merge` and :func:`complete_config`; for tools.

    Returns:
        ``cfg``, not frozen; the number of classes may still be -1.
    """
    return complete_config(merge(cfg, config_file, overrides))


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


def _add_keys_of_parts(cfg: Any) -> None:
    import_plugins(cfg)  # a rank, or IMPORTS that was set without a merge, has not done so
    add_keys(cfg, part_keys_of(cfg))


# What checks and completes a merged config, in this order, and why each of them changes a value.
_STEPS: tuple[tuple[Callable[[Any], None], str], ...] = (
    (_add_keys_of_parts, "the keys of a part"),
    (check_rules, "the rules of keys"),
    (prepare_data, "the data sets"),
    (resolve_device, "no GPU is available"),
    (set_timm_pixel_constants, "the pixel statistics of the backbone's weights"),
)


def complete_config(cfg: Any) -> Any:
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
    for step, _ in _STEPS:
        step(cfg)
    return cfg


def complete_config_with_reasons(cfg: Any) -> dict[str, str]:
    """:func:`complete_config`, and key -> why it has another value now."""
    reasons: dict[str, str] = {}
    for step, reason in _STEPS:
        before = dict(leaves(cfg))
        step(cfg)
        reasons |= {key: reason for key, value in leaves(cfg) if value != before.get(key)}
    return reasons
