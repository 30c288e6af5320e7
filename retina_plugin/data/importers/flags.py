"""Flags of boxes that are neither learned nor counted as missed, as formats spell them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retina_plugin.data.errors import DatasetError

# lower case, without "_" and spaces -> the name in Imported
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
    """The flag that an attribute or column means; None if it means none."""
    return SPELLINGS.get(key.strip().lower().replace("_", "").replace(" ", ""))


def read_flags(attributes: Mapping[str, Any], place: str) -> dict[str, int]:
    """The flags among the attributes of a box, such as {"difficult": 1}.

    Args:
        attributes: values are numbers, truth values or text; other keys are ignored.
        place: for messages.

    Raises:
        DatasetError: a flag with another value.
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
