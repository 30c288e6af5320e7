"""Flags of boxes, such as difficult and crowd, in the spellings of different formats. Boxes with a
flag are not used for training, and evaluation does not count them as missed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retina_plugin.data.errors import DatasetError

# key in lower case, without "_" and spaces -> name of the flag in Imported
SPELLINGS = {
    "difficult": "difficult",
    "isdifficult": "difficult",
    "crowd": "iscrowd",
    "iscrowd": "iscrowd",
    "groupof": "group_of",
    "isgroupof": "group_of",
}
VALUES = dict.fromkeys(("0", "0.0", "false", "no", "n", "f", "off", "", "none"), 0)
VALUES |= dict.fromkeys(("1", "1.0", "true", "yes", "y", "t", "on"), 1)


def flag_name(key: str) -> str | None:
    """Return the flag for the name of an attribute or column; None if that is not a flag."""
    return SPELLINGS.get(key.strip().lower().replace("_", "").replace(" ", ""))


def read_flags(attributes: Mapping[str, Any], place: str) -> dict[str, int]:
    """Return the flags among the attributes of a box, such as {"difficult": 1}.

    Args:
        attributes: values are numbers, booleans, text, or the choices of check boxes such as
            {"yes": true}; keys that are not flags are ignored.
        place: file and line, for messages.

    Raises:
        DatasetError: the value of a flag is not one of :data:`VALUES`.
    """
    flags: dict[str, int] = {}
    for key, value in attributes.items():
        name = flag_name(key)
        if name is None:
            continue
        number = _choice(value) if isinstance(value, Mapping) else _number(value)
        if number is None:
            raise DatasetError(
                f"{place}: expected 0, 1, true or false for {key}, found {value!r:.80}"
            )
        flags[name] = max(number, flags.get(name, 0))
    return flags


def _number(value: Any) -> int | None:
    return VALUES.get(str(value).strip().lower())


def _choice(choices: Mapping[str, Any]) -> int | None:
    """Return the value of check boxes: 0 if none is chosen, None if it is unknown. A chosen box may
    have the name of the flag."""
    chosen = [name for name, value in choices.items() if _number(value)]
    numbers = [1 if flag_name(name) else _number(name) for name in chosen]
    return None if None in numbers else max(filter(None, numbers), default=0)
