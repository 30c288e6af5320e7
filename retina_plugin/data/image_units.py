"""Find images that must be on the same side of a split: groups, copies and near-copies."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from retina_plugin.data.errors import DatasetError
from retina_plugin.data.near_copies import near_copies
from retina_plugin.data.thumbnails import Thumbnail


def relative_names(paths: Sequence[str]) -> list[str]:
    """Return the paths relative to their deepest common folder, with ``/``. The results do not
    depend on where the data set is."""
    if not paths:
        return []
    absolute = [os.path.abspath(path) for path in paths]
    common = os.path.commonpath([os.path.dirname(path) for path in absolute])
    return [os.path.relpath(path, common).replace(os.sep, "/") for path in absolute]


def group_names(names: Sequence[str], pattern: str) -> list[str | None]:
    """Return the group of each image: the part of its name that a regular expression matches.

    Args:
        names: see :func:`relative_names`.
        pattern: the group is its first capturing group, or the whole match. None is returned for
            names without a match, or with an empty one.

    Raises:
        DatasetError: the pattern is not a regular expression, or no name matches.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise DatasetError(
            f"group pattern {pattern!r} is not a regular expression: {error}"
        ) from error
    place = min(expression.groups, 1)
    matches = [expression.search(name) for name in names]
    found = [(match[place] or None) if match else None for match in matches]
    if not any(found):
        raise DatasetError(
            f"group pattern {pattern!r} matches none of {len(names)} file names (first: "
            f"{names[0]!r}). Write a regular expression such as '^(.*)_[0-9]+' whose first group "
            "is the video, patient or site."
        )
    return found


def copy_keys(thumbnails: Sequence[Thumbnail]) -> list[list[object]]:
    """Return the keys that copies of each image share: the checksum, and a key for each pair of
    near-copies."""
    keys: list[list[object]] = [[t.checksum] if t.checksum else [] for t in thumbnails]
    for pair in near_copies([t.grey for t in thumbnails]):
        for image in pair:
            keys[image].append(pair)
    return keys


def connect(keys: Sequence[Iterable[object]]) -> list[int]:
    """Return the unit of each item as an index from 0, in the order of first occurrence.

    Items that share a key are in the same unit, directly or through other items.
    """
    parent = list(range(len(keys)))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    first: dict[object, int] = {}
    for item, own in enumerate(keys):
        for key in own:
            a, b = sorted((root(first.setdefault(key, item)), root(item)))
            parent[b] = a
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(item), len(numbers)) for item in range(len(keys))]
