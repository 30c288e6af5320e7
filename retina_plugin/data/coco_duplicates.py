"""Warnings about duplicate classes, boxes and image files in annotations."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from retina_plugin.data.annotation_names import AnnotationNames


def duplicate_warnings(
    categories: Mapping[Any, str],
    records: Iterable[Mapping[str, Any]],
    names: AnnotationNames | None = None,
) -> list[str]:
    """Return warnings about classes whose names differ only by spaces or case, about repeated boxes
    in an image, and about image files that are listed as two images.

    Args:
        categories: {id: name}.
        records: see :class:`retina_plugin.data.Dataset`; may be empty.
        names: names of annotations in messages.
    """
    records = list(records)
    names = names or AnnotationNames()
    repeated = _repeated_boxes(records, names)
    lines = (*_similar_classes(categories), repeated, _shared_files(records))
    return [line for line in lines if line]


def _similar_classes(categories: Mapping[Any, str]) -> list[str]:
    ids_by_name: dict[str, list[Any]] = defaultdict(list)
    for coco_id, name in categories.items():
        ids_by_name[" ".join(unicodedata.normalize("NFKC", name).casefold().split())].append(
            coco_id
        )
    return [
        f"classes {' and '.join(repr(categories[i]) for i in ids)} (categories "
        f"{', '.join(map(repr, ids))}) differ by spaces or case only and are learnt as "
        f"{len(ids)} classes: merge them if they mean the same"
        for ids in ids_by_name.values()
        if len(ids) > 1
    ]


def _repeated_boxes(records: list[Mapping[str, Any]], names: AnnotationNames) -> str:
    count = total = 0
    example = ""
    for record in records:
        first: dict[tuple[Any, ...], Any] = {}
        for annotation in record["annotations"]:
            total += 1
            key = (annotation["category_id"], annotation["iscrowd"], *annotation["bbox"])
            first_id = first.setdefault(key, annotation["id"])
            if first_id != annotation["id"]:
                count += 1
                example = example or names.of_two(first_id, annotation["id"], record)
    if not count:
        return ""
    return (
        f"{count} of {total} boxes repeat another of the same image and class (first: {example}): "
        "they count twice in training and metrics; remove them"
    )


def _shared_files(records: list[Mapping[str, Any]]) -> str:
    first: dict[str, Any] = {}
    repeated = []
    for record in records:
        first_id = first.setdefault(os.path.normpath(record["file_name"]), record["image_id"])
        if first_id != record["image_id"]:
            repeated.append((first_id, record))
    if not repeated:
        return ""
    first_id, record = repeated[0]
    return (
        f"{len(repeated)} of {len(records)} images have the file of another image (first: "
        f"images {first_id!r} and {record['image_id']!r}, "
        f"{os.path.basename(record['file_name'])}): objects of one are "
        "background in the other; list each file once"
    )
