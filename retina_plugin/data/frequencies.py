"""How often each class occurs."""

from __future__ import annotations

from retina_plugin.data.coco import Dataset


def class_counts(dataset: Dataset) -> list[int]:
    """Boxes of each class, crowds not counted; 0 for a class that never occurs."""
    counts = [0] * dataset.num_classes
    for record in dataset.records:
        for annotation in record["annotations"]:
            if not annotation["iscrowd"]:
                counts[annotation["category_id"]] += 1
    return counts
