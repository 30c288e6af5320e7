"""How often each class occurs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def class_counts(records: Iterable[Mapping[str, Any]], num_classes: int) -> list[int]:
    """Boxes of each class, crowds not counted; 0 for a class that never occurs.

    Args:
        records: see :class:`retina_plugin.data.Dataset`; Detectron2's dicts do as well.
        num_classes: K.
    """
    counts = [0] * num_classes
    for record in records:
        for annotation in record["annotations"]:
            if not annotation.get("iscrowd", 0):
                counts[annotation["category_id"]] += 1
    return counts
