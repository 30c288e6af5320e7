"""Collect the images of an annotation file whose image files have to be found by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from retina_plugin.data.importers.collector import Collector
from retina_plugin.data.importers.image_places import ImageFinder, ImagePlaces, place_images
from retina_plugin.data.importers.imported import Imported

T = TypeVar("T")


def collect_images(
    images: Sequence[T],
    *,
    names_of: Callable[[T], Sequence[str]],
    add: Callable[[Collector, T, str], None],
    finder: ImageFinder,
    format: str,
    source: str,
    notes: Iterable[tuple[str, str]],
    class_names: Sequence[str] | None = None,
    watched: Sequence[str] = (),
    otherwise: Callable[[str], str] = str,
) -> Imported:
    """Find the image files, and collect images and boxes.

    Args:
        images: what the importer knows of each image.
        names_of: returns the names that the file of an image may have, the likeliest first.
        add: adds an image and its boxes, given the path of its file.
        finder, otherwise: see :func:`place_images`.
        format, source, class_names, watched: see :class:`Collector`.
        notes: (text, place) pairs, see :meth:`Collector.note`.

    Raises:
        DatasetError: see :func:`place_images`.
    """
    names = [names_of(image) for image in images]
    places = place_images(names, finder, source=source, otherwise=otherwise)
    collector = Collector(
        format=format,
        source=source,
        image_root=places.root,
        class_names=class_names,
        watched=watched or [source],
    )
    for what, place in notes:
        collector.note(what, place)
    for image, name in zip(images, places.names, strict=True):
        add(collector, image, name)
    note_places(collector, places, finder, source)
    return collector.finish()


def split_title(format: str, source: str, split: str) -> str:
    """Return the name of a format, with the name of the file if that is one of several splits."""
    return f"{format}, {os.path.basename(source)}" if split else format


def note_places(
    collector: Collector, places: ImagePlaces, finder: ImageFinder, source: str
) -> None:
    """Add the notes of :func:`note_moved`, and a note for each image that is in a folder of the
    images, but not in the annotations."""
    note_moved(collector, places, source)
    if not finder.is_whole:
        return
    used = {os.path.normpath(name) for name in places.names}
    folders = {os.path.dirname(name) for name in used}
    for name in finder.files.names:
        if name not in used and os.path.dirname(name) in folders:
            collector.note("images are not in the annotations and are not used", name)


def note_moved(collector: Collector, places: ImagePlaces, source: str) -> None:
    """Add a note for each image that is not at the path in the annotations."""
    for written, found in places.moved:
        collector.note(
            "images are not where the annotations name them and were found by their base names",
            f"{written!r} in {os.path.basename(source)} is {found!r}",
        )
