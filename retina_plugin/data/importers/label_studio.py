"""Import Label Studio's JSON and JSON-MIN exports.

Coordinates are percentages of the image size. ``rotation`` rotates a rectangle clockwise about its
top left corner, in pixels, not in percent. Widths and heights may be negative.
Skipped annotations (``was_cancelled``), predictions and drafts are ignored. A task without any
other annotation is not used: its image may have unlabelled objects.
Sources: https://labelstud.io/guide/task_format, https://labelstud.io/tags/rectanglelabels
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from retina_plugin.data.coco_json import parse_json
from retina_plugin.data.entry_errors import reading_entry
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.images import image_size
from retina_plugin.data.importers.annotation_files import annotation_files
from retina_plugin.data.importers.box_rows import note_moved
from retina_plugin.data.importers.collector import Collector
from retina_plugin.data.importers.image_places import ImageFinder, place_images
from retina_plugin.data.importers.imported import Imported
from retina_plugin.data.importers.json_entries import (
    image_size_of,
    require_dict,
    require_list,
)
from retina_plugin.data.importers.json_head import json_head
from retina_plugin.data.importers.label_studio_names import find_upload, image_names
from retina_plugin.data.importers.label_studio_regions import box_of, is_shape, labels_of
from retina_plugin.data.importers.registry import IMPORTERS

SIZE = ("original_width", "original_height")
WITHOUT_AREA = ("keypoint", "brush", "bitmask", "vector")


class Task(NamedTuple):
    """An image: its possible names, its place in the file, and (place, region) pairs."""

    names: list[str]
    place: str
    regions: list[tuple[str, dict[str, Any]]]


@IMPORTERS.register("Label Studio")
class LabelStudio:
    """Reads exports of Label Studio."""

    def splits(self, path: str) -> Mapping[str, str] | None:
        """See :class:`Importer`."""
        return annotation_files(path, (".json",), _fits) or None

    def read(self, path: str, split: str, *, image_folder: str = "") -> Imported:
        """See :class:`Importer`."""
        file = annotation_files(path, (".json",), _fits)[split]
        notes: list[tuple[str, str]] = []
        tasks = list(_tasks(file, notes))
        if not tasks:
            raise DatasetError(
                f"{file}: expected tasks with an annotation, found none"
                + "".join(f"; {what}: {place}" for what, place in notes[:1])
            )
        finder = ImageFinder(file, path=path, split=split, image_folder=image_folder)
        names = [task.names for task in tasks]
        places = place_images(
            names, finder, source=file, otherwise=lambda name: find_upload(name, finder.files)
        )
        collector = Collector(
            format="Label Studio" + (f", {os.path.basename(file)}" if split else ""),
            source=file,
            image_root=places.root,
            class_names=None,
            watched=[file],
        )
        for what, place in notes:
            collector.note(what, place)
        for task, name in zip(tasks, places.names, strict=True):
            _add(collector, task, name)
        note_moved(collector, places, file)
        return collector.finish()


def _fits(path: str) -> bool:
    head = json_head(path)
    if head is None or head.kind != "array":
        return False
    tasks = "data" in head.keys and bool(head.keys & {"annotations", "completions", "predictions"})
    return tasks or '"original_width"' in head.text or '"was_cancelled"' in head.text


def _tasks(file: str, notes: list[tuple[str, str]]) -> Iterator[Task]:
    """Yield the tasks that have an annotation; add a (text, place) note for each other task."""
    for number, entry in enumerate(parse_json(file)):
        place = f"{file}, entry {number}"
        task = require_dict(entry, place)
        if "data" not in task:
            yield _json_min_task(task, place)
            continue
        key = "annotations" if "annotations" in task else "completions"
        annotations = [
            (f"{place}, entry {n} of {key!r}", require_dict(annotation, place))
            for n, annotation in enumerate(require_list(task, key, place) if key in task else [])
        ]
        valid = [(p, a) for p, a in annotations if not a.get("was_cancelled")]
        if not valid:
            what = "tasks were skipped" if annotations else "tasks have no annotation"
            notes.append((f"{what} and are not used", place))
            continue
        chosen_place, chosen = max(reversed(valid), key=lambda pair: _rank(pair[1]))
        if len(valid) > 1:
            notes.append(
                ("tasks have several annotations: the ground truth or the newest is used", place)
            )
        yield Task(
            image_names(task, place),
            place,
            [
                (p := f"{chosen_place}, entry {n} of 'result'", require_dict(region, p))
                for n, region in enumerate(require_list(chosen, "result", chosen_place))
            ],
        )


def _rank(annotation: Mapping[str, Any]) -> tuple[bool, str]:
    """Return a sort key: ground truth is higher than other annotations, then newer than older."""
    return bool(annotation.get("ground_truth")), str(
        annotation.get("updated_at") or annotation.get("created_at") or ""
    )


def _json_min_task(task: Mapping[str, Any], place: str) -> Task:
    """Convert an entry of JSON-MIN, which has a list of regions for each label control."""
    regions = [
        (f"{place}, entry {n} of {key!r}", {"value": value, **value})
        for key, values in task.items()
        if isinstance(values, list)
        for n, value in enumerate(values)
        if isinstance(value, dict)
    ]
    return Task(image_names({"data": task}, place), place, regions)


def _add(collector: Collector, task: Task, name: str) -> None:
    """Add an image with its boxes."""
    sizes = [size for place, region in task.regions if (size := image_size_of(region, SIZE, place))]
    image = collector.add_image(name, **(sizes[0] if sizes else {}))
    labelled = {
        str(region["id"]) for _, region in task.regions if labels_of(region) and region.get("id")
    }
    path = os.path.join(collector.image_root, name)
    for place, region in task.regions:
        with reading_entry(place):
            labels = labels_of(region)
            if not _is_usable(region, labelled, collector, place):
                continue
            size = image_size_of(region, SIZE, place)
            width, height = (size["width"], size["height"]) if size else image_size(path)
            box = box_of(region["value"], (width / 100, height / 100), collector, place)
            if len(labels) > 1:
                collector.note("regions have several labels and give a box for each", place)
            for label in labels:
                collector.add_box(image, label, box, place=place)


def _is_usable(
    region: Mapping[str, Any], labelled: set[str], collector: Collector, place: str
) -> bool:
    """Return whether a region gives boxes; add a note for shapes and labels that do not.

    Args:
        labelled: ids of regions with a label. If shape and label are separate controls, each has a
            region with the same id, and the labelled region has the shape too.

    Raises:
        DatasetError: the image was rotated in Label Studio.
    """
    labels = labels_of(region)
    kind = str(region.get("type") or "")
    if not is_shape(region.get("value")):
        if kind.startswith(WITHOUT_AREA) or labels:
            collector.note(f"regions of type {kind!r} give no box and were left out", place)
        return False
    if not labels:
        if str(region.get("id")) not in labelled:
            collector.note("regions have no label and were left out", place)
        return False
    if region.get("image_rotation"):
        raise DatasetError(
            f"{place}: expected image_rotation 0, found {region['image_rotation']!r}: it is not "
            "known whether the region is measured before or after the rotation. Rotate the image "
            "file and annotate it again."
        )
    return True
