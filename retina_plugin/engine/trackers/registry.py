"""The registry of trackers, which ``MODEL.RETINA_PLUGIN.TRACKING.TRACKERS`` lists by name."""

from __future__ import annotations

from typing import Any

from retina_plugin.config.errors import ConfigError
from retina_plugin.config.keys import NODE, PLUGIN_KEYS
from retina_plugin.config.registry import Registry

TRACKERS = Registry("tracker", node=f"{NODE}.TRACKING", choice_key=f"{NODE}.TRACKING.TRACKERS")


def own_keys(name: str) -> dict[str, str]:
    """Return {constructor argument: key} for the keys of a tracker in
    :mod:`retina_plugin.config.keys_tracking`."""
    below = f"{NODE}.TRACKING.{name}."
    return {k.removeprefix(below).lower(): k for k in PLUGIN_KEYS if k.startswith(below)}


def check_tracker_names(cfg: Any) -> None:
    """Check that the chosen trackers are registered.

    Raises:
        ConfigError: a name is unknown; the message has the most similar names.
    """
    try:
        TRACKERS.require_known(*TRACKERS.chosen(cfg))
    except KeyError as error:
        raise ConfigError(error.args[0]) from error


def require_trackers(cfg: Any) -> None:
    """Check before a run that the libraries of the chosen trackers are installed.

    Raises:
        ImportError: one is missing; the message has the command that installs it.
    """
    TRACKERS.build_all(cfg, TRACKERS.chosen(cfg))
