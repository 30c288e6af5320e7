"""Rules about copies of images, in one data set and across data sets."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from retina_plugin.data.checks.checked_set import CheckedSet
from retina_plugin.data.checks.finding import Finding
from retina_plugin.data.dataset import Record


def check_same_file(checked: CheckedSet) -> Iterator[Finding]:
    """Check the rule same-file."""
    first: dict[str, Any] = {}
    for record in checked.dataset.records:
        path, image_id = record["file_name"], record["image_id"]
        other = first.setdefault(os.path.normpath(path), image_id)
        if other != image_id:
            yield checked.finding(
                "same-file", path, f"images {other!r} and {image_id!r} have this file"
            )


def check_copies(checked: CheckedSet) -> Iterator[Finding]:
    """Check the rules copied-image and near-copy."""
    records = {os.path.normpath(r["file_name"]): r for r in checked.dataset.records}
    by_checksum: dict[bytes, Record] = {}
    by_hash: dict[int, Record] = {}
    for record in records.values():
        thumbnail = checked.thumbnails[record["file_name"]]
        path, other = record["file_name"], by_checksum.setdefault(thumbnail.checksum, record)
        if other is not record and thumbnail.checksum:
            boxes = "" if same_boxes(record, other) else "; their boxes differ"
            name = other["file_name"]
            yield checked.finding("copied-image", path, f"a copy of {name}{boxes}", other=name)
        elif thumbnail.perceptual_hash is not None:
            other = by_hash.setdefault(thumbnail.perceptual_hash, record)
            if other is not record:
                name = other["file_name"]
                yield checked.finding("near-copy", path, f"looks like {name}", other=name)


def same_boxes(a: Record, b: Record) -> bool:
    """Return whether two images have the same boxes, rounded to 0.01 pixels."""
    return _boxes(a) == _boxes(b)


def _boxes(record: Record) -> list[tuple[object, ...]]:
    return sorted(
        (a["category_id"], a["iscrowd"], *(round(v, 2) for v in a["bbox"]))
        for a in record["annotations"]
    )


def check_leaks(sets: Sequence[CheckedSet]) -> Iterator[Finding]:
    """Check the rules leaked-image and leaked-near-copy for each pair of data sets."""
    for place, second in enumerate(sets):
        for first in sets[:place]:
            yield from _leaks(first, second)


def _leaks(first: CheckedSet, second: CheckedSet) -> Iterator[Finding]:
    where: dict[object, str] = {}
    for path, thumbnail in second.thumbnails.items():
        where.setdefault(thumbnail.checksum or None, path)
        where.setdefault(("hash", thumbnail.perceptual_hash), path)
    where.pop(None, None)
    where.pop(("hash", None), None)
    name = second.dataset.name
    for path, thumbnail in first.thumbnails.items():
        copy = where.get(thumbnail.checksum)
        near = where.get(("hash", thumbnail.perceptual_hash))
        if copy is not None:
            yield first.finding("leaked-image", path, f"is in {name} too: {copy}", other=copy)
        elif near is not None:
            yield first.finding(
                "leaked-near-copy", path, f"looks like an image of {name}: {near}", other=near
            )
