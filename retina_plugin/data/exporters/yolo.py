"""Write YOLO's label files: ``images/SPLIT/``, ``labels/SPLIT/`` and ``data.yaml``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from retina_plugin.config.files import write_atomically
from retina_plugin.data.data_path import SPLIT_NAMES
from retina_plugin.data.dataset import Dataset, Record
from retina_plugin.data.exporters.image_copies import ImageCopies
from retina_plugin.data.exporters.plain_names import ImageNames, with_plain_classes
from retina_plugin.data.exporters.splits import FLAGS, count_flags, named_records
from retina_plugin.data.importers.yolo_layout import labels_folder
from retina_plugin.data.importers.yolo_yaml import OTHER_SPLITS


def write_yolo(datasets: Mapping[str, Dataset], copies: ImageCopies) -> list[str]:
    """See :class:`Exporter`. Images without boxes get an empty label file. Boxes with flags are
    left out, as in Ultralytics' converters from COCO and Pascal VOC."""
    datasets, notes = with_plain_classes(datasets)
    image_name = ImageNames()
    for split, dataset in datasets.items():
        for record, name in named_records(split, dataset, image_name):
            image = os.path.join("images", split, name)
            copies.add(record["file_name"], image)
            folder, file = os.path.split(image)
            label = f"{os.path.splitext(file)[0]}.txt"
            path = os.path.join(copies.folder, labels_folder(folder), label)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_atomically(path, "".join(_row(a, record) for a in _boxes(record)))
    class_names = next(iter(datasets.values())).class_names
    write_atomically(os.path.join(copies.folder, "data.yaml"), _data_yaml(datasets, class_names))
    return [*notes, *image_name.notes(), *_notes(datasets)]


def _boxes(record: Record) -> list[dict[str, Any]]:
    return [a for a in record["annotations"] if not any(a.get(flag) for flag in FLAGS)]


def _row(annotation: Mapping[str, Any], record: Record) -> str:
    """Return a row of a label file, with all digits of the floats."""
    x0, y0, x1, y1 = annotation["bbox"]
    width, height = record["width"], record["height"]
    values = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
    return f"{annotation['category_id']} {' '.join(map(repr, values))}\n"


def _data_yaml(datasets: Mapping[str, Dataset], class_names: tuple[str, ...]) -> str:
    """Return the text of data.yaml. Text is quoted as in JSON, which is valid YAML."""
    folders = {split or "train": _quoted(f"images/{split}".rstrip("/")) for split in datasets}
    lines = [f"{split}: {folder}" for split, folder in folders.items() if split in SPLIT_NAMES]
    others = [f"  {_quoted(s)}: {folder}" for s, folder in folders.items() if s not in SPLIT_NAMES]
    lines += [f"{OTHER_SPLITS}:", *others] if others else []
    lines += ["names:", *(f"  {i}: {_quoted(name)}" for i, name in enumerate(class_names))]
    return "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    """Quote text; YAML does not join the two escapes that JSON has for an emoji."""
    return json.dumps(text, ensure_ascii=False)


def _notes(datasets: Mapping[str, Dataset]) -> list[str]:
    notes = []
    flagged = sum(count_flags(dataset, *FLAGS) for dataset in datasets.values())
    if flagged:
        notes.append(
            f"{flagged} boxes with the flag crowd, difficult or group-of were left out, because "
            "YOLO has no flags: their objects become background"
        )
    others = [split for split in datasets if split and split not in SPLIT_NAMES]
    if others:
        notes.append(
            f"YOLO has the splits train, val and test: other programs do not read the splits "
            f"{', '.join(others)}, which are under {OTHER_SPLITS!r} in data.yaml"
        )
    known = {split or "train" for split in datasets}
    missing = [split for split in ("train", "val") if split not in known]
    if missing:
        notes.append(
            f"data.yaml has no {' and no '.join(missing)}, which Ultralytics needs: the data set "
            "has no such split"
        )
    return notes
