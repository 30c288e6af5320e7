"""A row of the config: one key's default, meaning and rule."""

from __future__ import annotations

from typing import Any, NamedTuple

from retina_plugin.config.rules import Rule


class Key(NamedTuple):
    """A config key.

    Attributes:
        default: of the type that values must have; None takes all.
        meaning: one phrase, for people.
        rule: of the values that make sense; None takes all of the default's type.
    """

    default: Any
    meaning: str
    rule: Rule | None = None
