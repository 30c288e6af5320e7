"""The error for every mistake in a config."""

from __future__ import annotations


class ConfigError(ValueError):
    """A config file or an override cannot be used. The message has the file, the key, and the
    expected and the found value."""
