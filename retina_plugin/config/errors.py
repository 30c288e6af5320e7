"""The error for every mistake in a config."""

from __future__ import annotations


class ConfigError(ValueError):
    """A config file or an override cannot be used. The message names the file and the key, what was
    expected and what was found."""
