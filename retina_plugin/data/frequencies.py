"""Count how often each class occurs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def class_counts(records: Iterable[Mapping[str, Any]], num_classes: int) -> list[int]:
    """Return the number of boxes of each class, K numbers, without crowds.

    Args:
        records: see :class:`retina_plugin.data.Dataset`; or Detectron2's dataset dicts.
        num_classes: K.
    """
    counts = [0] * num_classes
    for record in records:
        for annotation in record["annotations"]:
            if not annotation.get("iscrowd", 0):
                counts[annotation["category_id"]] += 1
    return counts
