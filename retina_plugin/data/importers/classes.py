"""Give a split the classes of all splits, for formats without a list of classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from retina_plugin.data.importers.imported import Imported


def with_classes_of(imported: Imported, others: Sequence[Imported]) -> Imported:
    """Add the classes of other splits, and sort all by name.

    Args:
        imported: a split, whose classes are those of its boxes.
        others: the other splits; their files are watched too.
    """
    old = {entry["id"]: entry["name"] for entry in imported.content["categories"]}
    names = {entry["name"] for other in others for entry in other.content["categories"]}
    ids = {name: number for number, name in enumerate(sorted({*names, *old.values()}), start=1)}
    annotations = [
        {**annotation, "category_id": ids[old[annotation["category_id"]]]}
        for annotation in imported.content["annotations"]
    ]
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    watched = [path for one in (imported, *others) for path in one.watched or (one.source,)]
    return dataclasses.replace(
        imported,
        content={**imported.content, "annotations": annotations, "categories": categories},
        watched=tuple(dict.fromkeys(watched)),
    )
