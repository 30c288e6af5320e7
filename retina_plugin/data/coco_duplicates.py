"""What annotation files say twice: classes, boxes and files, each a warning with a count."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any


def duplicate_warnings(
    categories: Mapping[Any, str], records: Iterable[Mapping[str, Any]]
) -> list[str]:
    """Lines on classes whose names differ by spaces or case only, on boxes that an image has twice,
    and on files that are two images.

    Args:
        categories: id -> name.
        records: of the data set, with their annotations; may be empty.
    """
    records = list(records)
    lines = (*_classes(categories), _boxes(records), _files(records))
    return [line for line in lines if line]


def _classes(categories: Mapping[Any, str]) -> list[str]:
    alike: dict[str, list[Any]] = defaultdict(list)
    for coco_id, name in categories.items():
        alike[" ".join(unicodedata.normalize("NFKC", name).casefold().split())].append(coco_id)
    return [
        f"classes {' and '.join(repr(categories[i]) for i in ids)} (categories "
        f"{', '.join(map(repr, ids))}) differ by spaces or case only and are learnt as "
        f"{len(ids)} classes: merge them if they are one"
        for ids in alike.values()
        if len(ids) > 1
    ]


def _boxes(records: list[Mapping[str, Any]]) -> str:
    count = total = 0
    example = ""
    for record in records:
        first: dict[tuple[Any, ...], Any] = {}
        for annotation in record["annotations"]:
            total += 1
            key = (annotation["category_id"], annotation["iscrowd"], *annotation["bbox"])
            twin = first.setdefault(key, annotation["id"])
            if twin != annotation["id"]:
                count += 1
                name = os.path.basename(record["file_name"])
                example = example or f"annotations {twin!r} and {annotation['id']!r} of {name}"
    if not count:
        return ""
    return (
        f"{count} of {total} boxes repeat another of the same image and class (first: {example}): "
        "they count twice in training and metrics; take them out"
    )


def _files(records: list[Mapping[str, Any]]) -> str:
    first: dict[str, Any] = {}
    twice = []
    for record in records:
        twin = first.setdefault(os.path.normpath(record["file_name"]), record["image_id"])
        if twin != record["image_id"]:
            twice.append((twin, record))
    if not twice:
        return ""
    twin, record = twice[0]
    return (
        f"{len(twice)} of {len(records)} images are files that other images are, too (first: "
        f"images {twin!r} and {record['image_id']!r}, {os.path.basename(record['file_name'])}): "
        "objects that only one of them has are background in the other; make each file one image"
    )
