"""Import YOLO: a label file for each image, with or without a data.yaml.

An image without a label file, or with an empty one, has no objects.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence

from retina_plugin.data.entry_errors import reading_entry
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.importers.collector import Collector
from retina_plugin.data.importers.imported import Imported
from retina_plugin.data.importers.progress import with_progress
from retina_plugin.data.importers.registry import IMPORTERS
from retina_plugin.data.importers.text_file import lines_of_head, read_text
from retina_plugin.data.importers.yolo_layout import (
    NAME_FILES,
    find_entry,
    find_folders,
    find_yaml,
    label_file,
    list_images,
    name_files,
)
from retina_plugin.data.importers.yolo_rows import Row, is_row, parse_row
from retina_plugin.data.importers.yolo_yaml import (
    DataYaml,
    different_names,
    read_data_yaml,
    read_names,
)


@IMPORTERS.register("YOLO")
class YoloImporter:
    """Reads a data.yaml, a folder with one, or folders of images and labels."""

    def splits(self, path: str) -> Mapping[str, str] | None:
        """See :class:`Importer`."""
        data = _find(path)
        if data is None:
            return None
        return {split: ", ".join(entries) for split, entries in data.splits.items()} or None

    def read(self, path: str, split: str, *, image_folder: str = "") -> Imported:
        """See :class:`Importer`. ``image_folder`` replaces the image folders of the split; label
        files are searched for relative to it."""
        data = _find(path)
        if data is None:
            raise DatasetError(f"{path}: expected YOLO's labels, found none")
        entries = (os.path.abspath(image_folder),) if image_folder else data.splits[split]
        images = list_images(entries, data)
        labels = [label_file(image) for image in images]
        _require_labels(images, labels, data)
        collector = Collector(
            format=_format(split, data),
            source=data.file,
            image_root=data.root or ".",
            class_names=None,
            unit="fraction",
            watched=_watched(entries, images, labels, data),
        )
        _collect(collector, images, labels, data)
        if not any(entry.lower().endswith(".txt") for entry in entries):  # no lists of images
            _note_unused(collector, [label for label in labels if label is not None])
        return collector.finish()


def _find(path: str) -> DataYaml | None:
    """Read the data.yaml of a path, or derive its content from the folders; None if not YOLO."""
    file = find_yaml(path)
    if file is not None:
        return read_data_yaml(file)
    folders = find_folders(path)
    if not folders:
        return None
    file, class_names = _class_names(path, [f for found in folders.values() for f in found])
    splits = {split: tuple(map(os.path.abspath, found)) for split, found in folders.items()}
    return DataYaml(path, path, tuple(different_names(class_names, file)), splits)


def _class_names(path: str, folders: Sequence[str]) -> tuple[str, list[str]]:
    """Return the file of class names and the names: of ``path`` if it has such a file, else of its
    folders; (path, []) if there is none.

    Raises:
        DatasetError: files in different folders have different classes.
    """
    files = name_files(path)[:1] or name_files(*folders)
    if not files:
        return path, []
    names = read_names(files[0])
    for file in files[1:]:
        with reading_entry(file):
            if read_names(file) != names:
                raise DatasetError(
                    f"{files[0]} and {file} have different classes. Correct one of them, or use "
                    "the path of one of the folders."
                )
    return files[0], names


def _format(split: str, data: DataYaml) -> str:
    of_file = f" of {os.path.basename(data.file)}" if os.path.isfile(data.file) else ""
    return f"YOLO, split {split}{of_file}" if split else "YOLO"


def _require_labels(images: Sequence[str], labels: Sequence[str | None], data: DataYaml) -> None:
    with reading_entry(data.file):
        if not any(labels):
            raise DatasetError(
                f"{data.file}: none of {len(images)} images has a label file (first: {images[0]}). "
                "Labels are expected in the folder labels beside the folder images, or beside each "
                "image, with the name of the image and the suffix .txt"
            )


def _watched(
    entries: Sequence[str],
    images: Sequence[str],
    labels: Sequence[str | None],
    data: DataYaml,
) -> list[str]:
    """Return the files and folders to watch for changes, see :class:`Imported`."""
    if not os.path.isfile(data.file):
        return [data.file]
    resolved = filter(None, (find_entry(entry, data) for entry in entries))
    found = {os.path.abspath(path) for path in resolved}
    found |= {os.path.abspath(os.path.dirname(file)) for file in (*images, *filter(None, labels))}
    outermost = [path for path in found if not _is_below(path, found)]
    return [data.file, *sorted(outermost)]


def _is_below(path: str, folders: set[str]) -> bool:
    above = os.path.dirname(path)
    while above not in folders and above != os.path.dirname(above):
        above = os.path.dirname(above)
    return above in folders


def _collect(
    collector: Collector, images: Sequence[str], labels: Sequence[str | None], data: DataYaml
) -> None:
    rows: list[tuple[int, Row, str]] = []
    pairs = list(zip(images, labels, strict=True))
    for image, label in with_progress(pairs, "labels"):
        if label is None:
            collector.add_image(os.path.relpath(image, collector.image_root))
            collector.note("images have no label file and count as images without objects", image)
            continue
        with reading_entry(label):
            found = _read_rows(label, data, collector)
            number = collector.add_image(os.path.relpath(image, collector.image_root))
            rows += [(number, row, place) for row, place in found]
    names = data.class_names
    if not names and rows:
        last = max(row.label for _, row, _ in rows)
        names = tuple(f"class {index}" for index in range(last + 1))
        collector.note("class names are missing: write them into classes.txt", data.file)
    collector.class_names = list(names)
    for number, row, place in rows:
        collector.add_box(number, names[row.label], row.box, place=place)


def _read_rows(label: str, data: DataYaml, collector: Collector) -> list[tuple[Row, str]]:
    """Return the (row, place) pairs of a label file."""
    found = []
    for line_number, line in enumerate(read_text(label).splitlines(), start=1):
        if line.strip():
            place = f"{label}, line {line_number}"
            with reading_entry(place):
                row = parse_row(
                    line,
                    place,
                    num_classes=len(data.class_names) or None,
                    keypoints=data.keypoints,
                    note=functools.partial(collector.note, place=place),
                )
                found.append((row, place))
    return found


def _note_unused(collector: Collector, labels: Sequence[str]) -> None:
    """Add a note for each label file without an image, in the folders of ``labels``."""
    used = set(labels)
    for folder in sorted({os.path.dirname(label) for label in labels}):
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            if (
                name.lower().endswith(".txt")
                and path not in used
                and name.lower() not in NAME_FILES
            ):
                lines = [line for line in lines_of_head(path) if line.strip()]
                if lines and is_row(lines[0]):
                    collector.note("label files have no image and are not used", path)
