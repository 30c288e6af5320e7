"""Write COCO's JSON: ``annotations/SPLIT.json`` and ``images/SPLIT/``, or for a data set without
splits ``annotations.json`` and ``images/``."""

from __future__ import annotations

import os
from collections.abc import Mapping

from retina_plugin.data.coco_file import write_coco_file
from retina_plugin.data.dataset import Dataset
from retina_plugin.data.exporters.image_copies import ImageCopies
from retina_plugin.data.exporters.splits import named_records


def write_coco(datasets: Mapping[str, Dataset], copies: ImageCopies) -> list[str]:
    """See :class:`Exporter`. Ids, boxes, flags, empty images and the order of classes are kept."""
    for split, dataset in datasets.items():
        names: dict[str, str] = {}  # {path: name}; two images may have the same file
        for record, name in named_records(split, dataset):
            if names.setdefault(record["file_name"], name) == name:
                copies.add(record["file_name"], os.path.join("images", split, name))
        file = os.path.join("annotations", f"{split}.json") if split else "annotations.json"
        path = os.path.join(copies.folder, file)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_coco_file(dataset, range(len(dataset.records)), path, file_name=names.__getitem__)
    return []
