"""Group the rows of tables by image. A row has one box, or names an image without boxes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from retina_plugin.data.entry_errors import reading_entry
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.importers.collect_images import note_places
from retina_plugin.data.importers.collector import Collector
from retina_plugin.data.importers.image_places import ImageFinder, place_images
from retina_plugin.data.importers.imported import Imported


@dataclass(frozen=True)
class BoxRow:
    """The content of one row.

    Attributes:
        image: name of the image, as written.
        place: file and line.
        class_name, xyxy: class and corners of the box; None for an image without boxes.
        size: width and height of the image, if the row has them.
        flags: see :meth:`Collector.add_box`.
        notes: notes about conversions in this row.
    """

    image: str
    place: str
    class_name: str | None = None
    xyxy: tuple[float, ...] | None = None
    size: tuple[int, int] | None = None
    flags: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def collect_rows(
    rows: Iterable[BoxRow],
    *,
    format: str,
    file: str,
    path: str,
    split: str,
    image_folder: str,
    class_names: Sequence[str] | None = None,
    unit: str = "pixels",
    watched: Sequence[str] = (),
) -> Imported:
    """Collect rows. Images keep the order in which they first occur; repeated rows are dropped.

    Args:
        rows: the rows of ``file``.
        format, class_names, watched: see :class:`Collector`.
        unit: see :class:`Collector`. "pixels" becomes "fraction", with a note, if all coordinates
            are in 0..1.
        file: the table.
        path, split, image_folder: see :class:`ImageFinder`.

    Raises:
        DatasetError: there are no rows, rows of one image have different image sizes, or two names
            lead to the same image file.
    """
    by_image: dict[str, list[BoxRow]] = {}
    for row in rows:
        by_image.setdefault(row.image, []).append(row)
    if not by_image:
        raise DatasetError(f"{file}: expected a row for each box, found none")
    fractions = unit == "pixels" and _are_fractions(by_image.values())
    finder = ImageFinder(file, path=path, split=split, image_folder=image_folder)
    places = place_images([(name,) for name in by_image], finder, source=file)
    collector = Collector(
        format=format,
        source=file,
        image_root=places.root,
        class_names=class_names,
        unit="fraction" if fractions else unit,
        watched=watched,
    )
    if fractions:
        collector.note("file has no coordinate above 1: boxes are fractions of the image", file)
    for name, of_image in zip(places.names, by_image.values(), strict=True):
        _add(collector, name, of_image)
    note_places(collector, places, finder, file)
    return collector.finish()


def _are_fractions(rows: Iterable[Sequence[BoxRow]]) -> bool:
    """Return whether all coordinates are in 0..1; in pixels, boxes would be at most 1 pixel."""
    corners = [value for of_image in rows for row in of_image for value in row.xyxy or ()]
    return bool(corners) and min(corners) >= 0 and max(corners) <= 1


def _add(collector: Collector, name: str, rows: Sequence[BoxRow]) -> None:
    first = rows[0]
    width, height = first.size or (None, None)
    image = collector.add_image(name, width=width, height=height)
    has_boxes = any(row.class_name is not None for row in rows)
    seen: set[tuple[object, ...]] = set()
    for row in rows:
        with reading_entry(row.place):
            if row.size != first.size:
                raise DatasetError(
                    f"{row.place}: expected image size {first.size} as in {first.place}, found "
                    f"{row.size}: both rows belong to image {row.image!r}"
                )
            _add_row(collector, image, row, seen, has_boxes=has_boxes)


def _add_row(
    collector: Collector,
    image: int,
    row: BoxRow,
    seen: set[tuple[object, ...]],
    *,
    has_boxes: bool,
) -> None:
    """Add the box of a row, unless an earlier row of the image, in ``seen``, has the same one."""
    for note in row.notes:
        collector.note(note, row.place)
    key = (row.class_name, row.xyxy, *sorted(row.flags.items()))
    if key in seen:
        collector.note("rows occur again and were left out", row.place)
        return
    seen.add(key)
    if row.class_name is not None and row.xyxy is not None:
        collector.add_box(image, row.class_name, row.xyxy, place=row.place, **row.flags)
    elif has_boxes:
        collector.note(
            "rows mark an image as having no boxes, but other rows have boxes for that image",
            row.place,
        )
