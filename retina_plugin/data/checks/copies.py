"""Rules about copies of images, in one data set and across data sets."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from retina_plugin.data.checks.checked_set import CheckedSet
from retina_plugin.data.checks.finding import Finding
from retina_plugin.data.dataset import Record
from retina_plugin.data.near_copies import near_copies, near_copies_between

# what near-copies can be
CAUSES = "a copy, or a fixed camera has photographed the same scene twice"


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
    records = list({os.path.normpath(r["file_name"]): r for r in checked.dataset.records}.values())
    thumbnails = [checked.thumbnails[record["file_name"]] for record in records]
    by_checksum: dict[bytes, Record] = {}
    first: dict[int, int] = {}  # near-copy -> the first image that it looks like
    for one, other_one in near_copies([t.grey for t in thumbnails]):
        first.setdefault(other_one, one)
    for place, (record, thumbnail) in enumerate(zip(records, thumbnails, strict=True)):
        path, other = record["file_name"], by_checksum.setdefault(thumbnail.checksum, record)
        if other is not record and thumbnail.checksum:
            boxes = "" if same_boxes(record, other) else "; their boxes differ"
            name = other["file_name"]
            yield checked.finding("copied-image", path, f"a copy of {name}{boxes}", other=name)
        elif place in first:
            name = records[first[place]]["file_name"]
            yield checked.finding("near-copy", path, f"looks like {name}: {CAUSES}", other=name)


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
    others = list(second.thumbnails)
    copies = {t.checksum: path for path, t in reversed(second.thumbnails.items()) if t.checksum}
    greys = [[t.grey for t in checked.thumbnails.values()] for checked in (first, second)]
    near = {one: others[other] for one, other in reversed(near_copies_between(*greys))}
    name = second.dataset.name
    for place, (path, thumbnail) in enumerate(first.thumbnails.items()):
        copy = copies.get(thumbnail.checksum)
        if copy is not None:
            yield first.finding("leaked-image", path, f"is in {name} too: {copy}", other=copy)
        elif place in near:
            other = near[place]
            message = f"looks like {other} of {name}: {CAUSES}"
            yield first.finding("leaked-near-copy", path, message, other=other)
