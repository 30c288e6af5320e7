"""Import Label Studio's JSON and JSON-MIN exports, and the files of its target storage.

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

from retina_plugin.data.entry_errors import reading_entry
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.images import image_size
from retina_plugin.data.importers.collect_images import collect_images, split_title
from retina_plugin.data.importers.collector import Collector
from retina_plugin.data.importers.image_places import ImageFinder
from retina_plugin.data.importers.imported import Imported
from retina_plugin.data.importers.json_entries import (
    image_size_of,
    require_dict,
    require_list,
)
from retina_plugin.data.importers.label_studio_files import (
    Task,
    find_sources,
    read_tasks,
    stored_files,
)
from retina_plugin.data.importers.label_studio_names import find_upload, image_names
from retina_plugin.data.importers.label_studio_regions import box_of, is_shape, labels_of
from retina_plugin.data.importers.registry import IMPORTERS

SIZE = ("original_width", "original_height")
WITHOUT_AREA = ("keypoint", "brush", "bitmask", "vector")


class LabelledImage(NamedTuple):
    """An image: its possible names, and (place, region) pairs."""

    names: list[str]
    regions: list[tuple[str, dict[str, Any]]]


@IMPORTERS.register("Label Studio")
class LabelStudio:
    """Reads exports of Label Studio, and folders that it uses as target storage."""

    def splits(self, path: str) -> Mapping[str, str] | None:
        """See :class:`Importer`."""
        return find_sources(path) or None

    def read(self, path: str, split: str, *, image_folder: str = "") -> Imported:
        """See :class:`Importer`."""
        source = find_sources(path)[split]
        notes: list[tuple[str, str]] = []
        images = list(_images(source, notes))
        if not images:
            raise DatasetError(
                f"{source}: expected tasks with an annotation, found none"
                + "".join(f"; {what}: {place}" for what, place in notes[:1])
            )
        files = stored_files(source)
        finder = ImageFinder(files[0], path=path, split=split, image_folder=image_folder)
        return collect_images(
            images,
            names_of=lambda image: image.names,
            add=_add,
            finder=finder,
            format=split_title("Label Studio", source, split),
            source=source,
            notes=notes,
            watched=[source] if os.path.isfile(source) else [source, *files],
            otherwise=lambda name: find_upload(name, finder.files),
        )


def _images(source: str, notes: list[tuple[str, str]]) -> Iterator[LabelledImage]:
    """Yield the images of tasks that have an annotation; add a (text, place) note for each other
    task."""
    for task in read_tasks(source, notes):
        image = None
        with reading_entry(task.place):
            image = _json_min_image(task) if task.annotations is None else _image(task, notes)
        if image is not None:
            yield image


def _image(task: Task, notes: list[tuple[str, str]]) -> LabelledImage | None:
    annotations = task.annotations or []
    valid = [(place, a) for place, a in annotations if not a.get("was_cancelled")]
    if not valid:
        what = "tasks were skipped" if annotations else "tasks have no annotation"
        notes.append((f"{what} and are not used", task.place))
        return None
    place, chosen = max(reversed(valid), key=lambda pair: _rank(pair[1]))
    if len(valid) > 1:
        notes.append(
            ("tasks have several annotations: the ground truth or the newest is used", task.place)
        )
    regions = []
    for number, region in enumerate(require_list(chosen, "result", place)):
        where = f"{place}, entry {number} of 'result'"
        with reading_entry(where):
            regions.append((where, require_dict(region, where)))
    return LabelledImage(image_names(task.fields, task.place), regions)


def _rank(annotation: Mapping[str, Any]) -> tuple[bool, str]:
    """Return a sort key: ground truth is higher than other annotations, then newer than older."""
    return bool(annotation.get("ground_truth")), str(
        annotation.get("updated_at") or annotation.get("created_at") or ""
    )


def _json_min_image(task: Task) -> LabelledImage:
    """Convert a task of JSON-MIN, which has a list of regions for each label control."""
    regions = [
        (f"{task.place}, entry {n} of {key!r}", {"value": value, **value})
        for key, values in task.fields.items()
        if isinstance(values, list)
        for n, value in enumerate(values)
        if isinstance(value, dict)
    ]
    return LabelledImage(image_names({"data": task.fields}, task.place), regions)


def _add(collector: Collector, image: LabelledImage, name: str) -> None:
    """Add an image with its boxes."""
    size: dict[str, int] = {}
    for place, region in image.regions:
        with reading_entry(place):
            size = size or image_size_of(region, SIZE, place)
    number = collector.add_image(name, **size)
    labelled = {
        str(region["id"]) for _, region in image.regions if labels_of(region) and region.get("id")
    }
    path = os.path.join(collector.image_root, name)
    for place, region in image.regions:
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
                collector.add_box(number, label, box, place=place)


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
