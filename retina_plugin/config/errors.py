"""The error that every mistake in a config ends in."""

from __future__ import annotations


class ConfigError(ValueError):
    """A config file or an override that cannot be used; the message names file, key, what was found
    and what would do."""
