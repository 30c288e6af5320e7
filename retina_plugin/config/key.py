"""The definition of a config key: default, meaning and rule."""

from __future__ import annotations

from typing import Any, NamedTuple

from retina_plugin.config.rules import Rule


class Key(NamedTuple):
    """A config key.

    Attributes:
        default: the default value. Other values must have the same type; None allows any type.
        meaning: one phrase for the documentation.
        rule: which values are allowed; None allows every value of the default's type.
    """

    default: Any
    meaning: str
    rule: Rule | None = None
