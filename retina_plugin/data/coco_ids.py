"""Make the ids of COCO files comparable: 1, 1.0 and "1" are the same id."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

WHOLE_NUMBER = re.compile(r"([0-9]{1,19})(?:\.0*)?")
REFERENCES = {"image_id": "images", "category_id": "categories"}


def normalize_ids(content: dict[str, Any]) -> list[str]:
    """Replace the ids in annotations by the equal ids of images and categories, in place.

    Whole floats become integers. An ``image_id`` or ``category_id`` that is text while the ids are
    numbers, or a number while they are text, becomes the id with the same number if there is
    exactly one.

    Args:
        content: COCO's lists with checked entries; "annotations" may be missing.

    Returns:
        A warning with a count for each key where text and numbers were matched.
    """
    for kind in ("images", "annotations", "categories"):
        for entry in content.get(kind, []):
            entry["id"] = float_to_int(entry["id"])
    annotations, lines = content.get("annotations", []), []
    for key, kind in REFERENCES.items():
        match = IdMatcher(entry["id"] for entry in content[kind])
        changed = 0
        for annotation in annotations:
            given = float_to_int(annotation[key])
            annotation[key] = match(given)
            changed += annotation[key] is not given
        if changed:
            kinds = (
                "text, ids of {} are numbers" if match.numbers else "a number, ids of {} are text"
            )
            lines.append(
                f"{key} of {changed} of {len(annotations)} annotations is {kinds.format(kind)}: "
                "the same numbers were matched"
            )
    return lines


def float_to_int(value: Any) -> Any:
    """Return a whole float as an integer, and any other value unchanged."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class IdMatcher:
    """Finds the known id that equals a value; "7", 7 and 7.0 are equal.

    Args:
        ids: the known ids, numbers or text.
    """

    def __init__(self, ids: Iterable[Any]) -> None:
        self.ids = set(ids)
        self.numbers = not any(isinstance(value, str) for value in self.ids)
        self.by_number: dict[int, list[Any]] = {}
        for value in self.ids:
            number = _to_int(value)
            if number is not None:
                self.by_number.setdefault(number, []).append(value)

    def __call__(self, value: Any) -> Any:
        """Return the only known id that equals ``value``, or else ``value``."""
        if value in self.ids:
            return value
        number = _to_int(value)
        found = [] if number is None else self.by_number.get(number, [])
        return found[0] if len(found) == 1 else value


def id_order(value: Any) -> tuple[bool, Any]:
    """Return a sort key: numbers are before text."""
    return isinstance(value, str), value


def _to_int(value: Any) -> int | None:
    """Return the whole number of an id, or None if it is not a whole number."""
    if isinstance(value, str):
        found = WHOLE_NUMBER.fullmatch(value.strip())
        return int(found[1]) if found else None
    return int(value) if float(value).is_integer() else None
