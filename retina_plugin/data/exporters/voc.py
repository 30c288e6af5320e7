"""Write Pascal VOC's XML: ``Annotations/``, ``JPEGImages/`` and ``ImageSets/Main/SPLIT.txt``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

from retina_plugin.config.files import write_atomically
from retina_plugin.data.dataset import Dataset, Record
from retina_plugin.data.exporters.image_copies import ImageCopies
from retina_plugin.data.exporters.plain_names import ImageNames, with_plain_classes
from retina_plugin.data.exporters.splits import FLAGS, count_flags, different_name, named_records
from retina_plugin.data.importers.voc_offset import OFFSETS, add_offset

LOW, HIGH = OFFSETS["minima"]  # added to corners, because the reader subtracts it by default


def write_voc(datasets: Mapping[str, Dataset], copies: ImageCopies) -> list[str]:
    """See :class:`Exporter`. Images of all splits are in one folder; duplicate names get a number.
    Classes without boxes and the order of classes are lost; all flags become "difficult"."""
    datasets, notes = with_plain_classes(datasets)
    image_name = ImageNames()
    used: set[str] = set()
    for split, dataset in datasets.items():
        stems = []
        for record, nested in named_records(split, dataset, image_name):
            name = different_name(nested.replace("/", "_"), used)
            stems.append(os.path.splitext(name)[0])
            copies.add(record["file_name"], os.path.join("JPEGImages", name))
            _write(copies.folder, f"Annotations/{stems[-1]}.xml", _xml(record, name, dataset))
        if split:
            lines = "".join(f"{stem}\n" for stem in stems)
            _write(copies.folder, f"ImageSets/Main/{split}.txt", lines)
    return [*notes, *image_name.notes(), *_notes(datasets)]


def _write(folder: str, name: str, text: str) -> None:
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write_atomically(path, text)


def _xml(record: Record, name: str, dataset: Dataset) -> str:
    size = "".join(f"<{key}>{record[key]}</{key}>" for key in ("width", "height"))
    objects = [_object(annotation, dataset) for annotation in record["annotations"]]
    lines = [
        "<annotation>",
        "<folder>JPEGImages</folder>",
        f"<filename>{escape(name)}</filename>",
        f"<size>{size}<depth>3</depth></size>",
        *objects,
        "</annotation>",
        "",
    ]
    return "\n".join(lines)


def _object(annotation: Mapping[str, Any], dataset: Dataset) -> str:
    x0, y0, x1, y1 = annotation["bbox"]
    corners = {"xmin": (x0, LOW), "ymin": (y0, LOW), "xmax": (x1, HIGH), "ymax": (y1, HIGH)}
    box = "".join(f"<{key}>{add_offset(*corner)}</{key}>" for key, corner in corners.items())
    difficult = int(any(annotation.get(flag) for flag in FLAGS))
    name = escape(dataset.class_names[annotation["category_id"]])
    return (
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{box}</bndbox>"
        "</object>"
    )


def _notes(datasets: Mapping[str, Dataset]) -> list[str]:
    notes = []
    flagged = sum(count_flags(d, *FLAGS) - count_flags(d, "difficult") for d in datasets.values())
    if flagged:
        notes.append(
            f"{flagged} boxes with the flag crowd or group-of are marked difficult, the only flag "
            "of Pascal VOC"
        )
    names = next(iter(datasets.values())).class_names
    used = {
        names[annotation["category_id"]]
        for dataset in datasets.values()
        for record in dataset.records
        for annotation in record["annotations"]
    }
    if list(names) != sorted(used):
        unused = [name for name in names if name not in used]
        without = f"; classes without boxes are lost: {', '.join(unused)}" if unused else ""
        notes.append(f"Pascal VOC has no list of classes: a reader sorts them by name{without}")
    return notes
