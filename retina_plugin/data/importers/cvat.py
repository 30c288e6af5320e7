"""Import CVAT's XML, "CVAT for images" and "CVAT for video"; coordinates are in pixels.

``rotation`` rotates a shape clockwise about its centre. In tracks, shapes with ``outside="1"`` are
not visible. The frames of a video are files named frame_000000, frame_000001, ...
Source: https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field

from retina_plugin.data.entry_errors import reading_entry
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.importers.annotation_files import annotation_files, split_of
from retina_plugin.data.importers.collect_images import collect_images
from retina_plugin.data.importers.collector import Collector
from retina_plugin.data.importers.cvat_shapes import box_of, label_names, whole_number
from retina_plugin.data.importers.flags import read_flags
from retina_plugin.data.importers.image_places import ImageFinder
from retina_plugin.data.importers.imported import Imported
from retina_plugin.data.importers.registry import IMPORTERS
from retina_plugin.data.importers.text_file import head_of
from retina_plugin.data.importers.xml_file import Element, read_xml

ROOT = re.compile(r"<annotations[\s>]")
SUBSETS = re.compile(r"<subsets>([^<]*)</subsets>")
FRAME = re.compile(r"frame_0*(\d+)", re.IGNORECASE)


@dataclass
class Picture:
    """An image or frame: name, size, and a (label, shape) pair for each object."""

    name: str
    size: dict[str, int] = field(default_factory=dict)
    shapes: list[tuple[str, Element]] = field(default_factory=list)


@IMPORTERS.register("CVAT")
class CVAT:
    """Reads CVAT's XML files."""

    def splits(self, path: str) -> Mapping[str, str] | None:
        """See :class:`Importer`. The subsets of an exported project are its splits."""
        return {split: file for split, (file, _) in _splits(path).items()} or None

    def read(self, path: str, split: str, *, image_folder: str = "") -> Imported:
        """See :class:`Importer`."""
        file, subset = _splits(path)[split]
        root = read_xml(file)
        finder = ImageFinder(file, path=path, split=split, image_folder=image_folder)
        notes: list[tuple[str, str]] = []
        pictures = [*_images(root, subset, notes), *_frames(root, finder, notes)]
        if not pictures:
            raise DatasetError(f"{file}: expected images or tracks, found none")
        return collect_images(
            pictures,
            names_of=lambda picture: [picture.name],
            add=_add,
            finder=finder,
            format="CVAT" + (f", {split} of {os.path.basename(file)}" if split else ""),
            source=file,
            notes=notes,
            class_names=label_names(root) or None,
        )


def _fits(path: str) -> bool:
    return path.lower().endswith(".xml") and ROOT.search(head_of(path)) is not None


def _splits(path: str) -> dict[str, tuple[str, str]]:
    """Return {split: (file, subset)}; the subset is "" if all images of the file are used."""
    files = annotation_files(path, (".xml",), _fits)
    if list(files) != [""]:
        return {split: (file, "") for split, file in files.items()}
    found = SUBSETS.search(head_of(files[""]))
    subsets = [name.strip() for name in found[1].split("\n")] if found else []
    if len(subsets) < 2:
        return {"": (files[""], "")}
    names = [split_of(subset) or subset for subset in subsets]
    names = names if len(set(names)) == len(names) else subsets
    return {name: (files[""], subset) for name, subset in zip(names, subsets, strict=True)}


def _images(root: Element, subset: str, notes: list[tuple[str, str]]) -> list[Picture]:
    """Return the images of "CVAT for images"; of one subset if ``subset`` is not empty."""
    pictures: list[Picture] = []
    seen: dict[str, str] = {}
    for element in root.find_all("image"):
        name = element.attributes.get("subset") or "default"
        if subset and name != subset:
            continue
        if name not in seen:
            seen[name] = element.place
            if len(seen) > 1:
                notes.append(
                    (f"subset, {name}, was read together with {next(iter(seen))}", element.place)
                )
        with reading_entry(element.place):
            picture = Picture(_required(element, "name"), _size(element))
            pictures.append(picture)
            _read_shapes(element, picture)
    return pictures


def _read_shapes(image: Element, picture: Picture) -> None:
    for shape in image.children:
        if shape.tag != "attribute":
            with reading_entry(shape.place):
                picture.shapes.append((_required(shape, "label"), shape))


def _frames(root: Element, finder: ImageFinder, notes: list[tuple[str, str]]) -> Iterator[Picture]:
    """Yield the frames of a video; frames without boxes only if their image files exist."""
    tracks = list(root.find_all("track"))
    if not tracks:
        return
    size = _video_size(root)
    names = _frame_files(finder)
    pictures = {number: Picture(name, size) for number, name in names.items()}
    for track in tracks:
        with reading_entry(track.place):
            label = _required(track, "label")
            for number, shape in _visible_shapes(track, names, notes):
                default = Picture(f"frame_{number:06d}", size)
                pictures.setdefault(number, default).shapes.append((label, shape))
    yield from (pictures[number] for number in sorted(pictures))


def _visible_shapes(
    track: Element, frames: Container[int], notes: list[tuple[str, str]]
) -> Iterator[tuple[int, Element]]:
    """Yield (frame, shape) for each frame in which the object of a track is visible."""
    before = None
    for shape in track.children:
        number = None
        with reading_entry(shape.place):
            number = whole_number(shape, "frame")
        if number is None:
            continue
        if before is not None and any(n in frames for n in range(before + 1, number)):
            notes.append(("gaps in tracks: frames between two shapes have no shape", shape.place))
        visible = shape.attributes.get("outside", "0") != "1"
        before = number if visible else None
        if visible:
            yield number, shape


def _frame_files(finder: ImageFinder) -> dict[int, str]:
    """Return {frame number: file}."""
    found: dict[int, str] = {}
    for name in finder.files.names:
        match = FRAME.fullmatch(os.path.splitext(os.path.basename(name))[0])
        with reading_entry():
            if match and found.setdefault(int(match[1]), name) != name:
                raise DatasetError(
                    f"{finder.root}: expected one file for each frame, found "
                    f"{found[int(match[1])]!r} and {name!r}. Give the image folder: PATH@FOLDER."
                )
    return found


def _video_size(root: Element) -> dict[str, int]:
    for holder in root.find_all("meta"):
        for task in holder.children:
            for element in task.find_all("original_size"):
                width, height = element.text_at("width"), element.text_at("height")
                if width.isdecimal() and height.isdecimal():
                    return {"width": int(width), "height": int(height)}
    return {}


def _size(image: Element) -> dict[str, int]:
    if not {"width", "height"} <= image.attributes.keys():
        return {}
    return {name: whole_number(image, name) for name in ("width", "height")}


def _required(element: Element, name: str) -> str:
    value = element.attributes.get(name, "").strip()
    if not value:
        raise DatasetError(f"{element.place}: expected {name} of <{element.tag}>, found nothing")
    return value


def _add(collector: Collector, picture: Picture, name: str) -> None:
    """Add an image with its boxes."""
    image = collector.add_image(name, **picture.size)
    for label, shape in picture.shapes:
        with reading_entry(shape.place):
            _add_shape(collector, image, label, shape)


def _add_shape(collector: Collector, image: int, label: str, shape: Element) -> None:
    box = box_of(shape, collector)
    if box is None:
        return
    if collector.class_names is not None and label not in collector.class_names:
        raise DatasetError(
            f"{shape.place}: expected a label of <meta>, found {label!r}; it has "
            f"{', '.join(collector.class_names)!r:.200}"
        )
    attributes = {e.attributes.get("name", ""): e.text for e in shape.find_all("attribute")}
    collector.add_box(image, label, box, place=shape.place, **read_flags(attributes, shape.place))
