"""Ids of COCO files as one kind: 1.0 is 1, and "1" or "1.0" of an annotation is 1 if the image's
id is a number."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

WHOLE = re.compile(r"([0-9]{1,19})(?:\.0*)?")  # as text
REFERENCES = {"image_id": "images", "category_id": "categories"}


def normalize_ids(content: dict[str, Any]) -> list[str]:
    """Make the ids of annotations those of their images and categories, in place.

    Whole floats become integers. An ``image_id`` or ``category_id`` that is text where the ids are
    numbers, or the other way round, becomes the id of the same number if there is exactly one.
    Nothing else changes.

    Args:
        content: COCO's lists, each entry checked; "annotations" may be missing.

    Returns:
        A line with a count for each key whose text and numbers were matched.
    """
    for kind in ("images", "annotations", "categories"):
        for entry in content.get(kind, []):
            entry["id"] = whole(entry["id"])
    annotations, lines = content.get("annotations", []), []
    for key, kind in REFERENCES.items():
        match = IdMatcher(entry["id"] for entry in content[kind])
        changed = 0
        for annotation in annotations:
            given = whole(annotation[key])
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


def whole(value: Any) -> Any:
    """1.0 as 1; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class IdMatcher:
    """Finds the id that is meant: "7", 7 and 7.0 are alike.

    Args:
        ids: the known ones, numbers or text.
    """

    def __init__(self, ids: Iterable[Any]) -> None:
        self.ids = set(ids)
        self.numbers = not any(isinstance(value, str) for value in self.ids)
        self.by_number: dict[int, list[Any]] = {}
        for value in self.ids:
            number = _number(value)
            if number is not None:
                self.by_number.setdefault(number, []).append(value)

    def __call__(self, value: Any) -> Any:
        """The known id that ``value`` means, or ``value`` itself if there is none or more than
        one."""
        if value in self.ids:
            return value
        found = self.by_number.get(_number(value), [])
        return found[0] if len(found) == 1 else value


def _number(value: Any) -> int | None:
    """The whole number that an id stands for; None for other text."""
    if isinstance(value, str):
        found = WHOLE.fullmatch(value.strip())
        return int(found[1]) if found else None
    return int(value) if float(value).is_integer() else None
