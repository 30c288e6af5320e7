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
VALUES = {"0": 0, "0.0": 0, "false": 0, "no": 0, "": 0, "none": 0}
VALUES |= {"1": 1, "1.0": 1, "true": 1, "yes": 1}


def flag_name(key: str) -> str | None:
    """Return the flag for the name of an attribute or column; None if that is not a flag."""
    return SPELLINGS.get(key.strip().lower().replace("_", "").replace(" ", ""))


def read_flags(attributes: Mapping[str, Any], place: str) -> dict[str, int]:
    """Return the flags among the attributes of a box, such as {"difficult": 1}.

    Args:
        attributes: values are numbers, booleans or text; keys that are not flags are ignored.
        place: file and line, for messages.

    Raises:
        DatasetError: the value of a flag is not one of :data:`VALUES`.
    """
    flags: dict[str, int] = {}
    for key, value in attributes.items():
        name = flag_name(key)
        if name is None:
            continue
        number = VALUES.get(str(value).strip().lower())
        if number is None:
            raise DatasetError(
                f"{place}: expected 0, 1, true or false for {key}, found {value!r:.80}"
            )
        flags[name] = max(number, flags.get(name, 0))
    return flags
