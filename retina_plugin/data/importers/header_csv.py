"""Import CSV with a header and a row for each box, as in TensorFlow's tutorials and in Roboflow:
filename,width,height,class,xmin,ymin,xmax,ymax.

Columns may have any order and any name in ``SPELLINGS``. Rows with empty class and corners are
images without boxes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from retina_plugin.data.entry_errors import reading_entry
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.importers.annotation_files import annotation_files
from retina_plugin.data.importers.box_rows import BoxRow, collect_rows
from retina_plugin.data.importers.csv_table import (
    SUFFIXES,
    Row,
    Rows,
    head_rows,
    read_rows,
    require_length,
)
from retina_plugin.data.importers.flags import flag_name, read_flags
from retina_plugin.data.importers.imported import Imported
from retina_plugin.data.importers.registry import IMPORTERS

CORNERS = ("xmin", "ymin", "xmax", "ymax")
SPELLINGS = {
    "filename": ("filename", "file_name", "file", "image", "image_path", "path", "img", "image_id"),
    "class": ("class", "class_name", "label", "name", "category"),
    "xmin": ("xmin", "x_min", "x1", "left"),
    "ymin": ("ymin", "y_min", "y1", "top"),
    "xmax": ("xmax", "x_max", "x2", "right"),
    "ymax": ("ymax", "y_max", "y2", "bottom"),
    "width": ("width", "image_width"),
    "height": ("height", "image_height"),
}
NEEDED = ("filename", "class", *CORNERS)
NEEDED_TEXT = ", ".join(NEEDED)


@IMPORTERS.register("CSV with a header")
class HeaderCSV:
    """Reads tables with a header."""

    def splits(self, path: str) -> Mapping[str, str] | None:
        """See :class:`Importer`."""
        return annotation_files(path, SUFFIXES, _fits) or None

    def read(self, path: str, split: str, *, image_folder: str = "") -> Imported:
        """See :class:`Importer`."""
        file = annotation_files(path, SUFFIXES, _fits)[split]
        return collect_rows(
            _read_boxes(file),
            format="CSV with a header" + (f", {os.path.basename(file)}" if split else ""),
            file=file,
            path=path,
            split=split,
            image_folder=image_folder,
        )


def _fits(path: str) -> bool:
    return path.lower().endswith(SUFFIXES) and head_rows(path, _has_header) is not None


def _has_header(rows: Rows) -> bool:
    """Return whether the header has a column of file names and at least two of corners. Reading the
    file reports missing columns."""
    found = _columns(rows[0])
    return "filename" in found and sum(corner in found for corner in CORNERS) >= 2


def _columns(header: list[str]) -> dict[str, int]:
    """Return {name in SPELLINGS: column} for the columns in the header."""
    plain = [name.lower().replace(" ", "_") for name in header]
    return {
        name: plain.index(spelling)
        for name, spellings in SPELLINGS.items()
        for spelling in reversed(spellings)
        if spelling in plain
    }


def _read_boxes(file: str) -> Iterator[BoxRow]:
    found = head_rows(file, _has_header)
    rows = read_rows(file, found[1] if found else ",")
    header = next(rows)
    while header.cells and not header.cells[-1]:
        header.cells.pop()
    columns = _columns(header.cells)
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise DatasetError(
            f"{header.place}: expected the columns {NEEDED_TEXT}; found "
            f"{', '.join(header.cells)!r:.200}: {', '.join(missing)} missing"
        )
    flags = {name: place for place, name in enumerate(header.cells) if flag_name(name)}
    for row in rows:
        box = None
        with reading_entry(row.place):
            require_length(row, len(header.cells), "as many as the header has")
            box = _box(row, columns, flags)
        if box is not None:
            yield box


def _box(row: Row, columns: Mapping[str, int], flags: Mapping[str, int]) -> BoxRow:
    image = row.text(columns["filename"], "filename")
    size = _size(row, columns)
    if not any(row.cells[columns[name]] for name in ("class", *CORNERS)):
        return BoxRow(image, row.place, size=size)
    return BoxRow(
        image,
        row.place,
        row.text(columns["class"], "class"),
        row.box([columns[name] for name in CORNERS], CORNERS),
        size,
        read_flags({name: row.cells[place] for name, place in flags.items()}, row.place),
    )


def _size(row: Row, columns: Mapping[str, int]) -> tuple[int, int] | None:
    """Return width and height, if the row has both, else None."""
    both = [columns[name] for name in ("width", "height") if name in columns]
    if len(both) < 2 or not all(row.cells[place] for place in both):
        return None
    width, height = (
        row.number(place, name) for place, name in zip(both, ("width", "height"), strict=True)
    )
    if width % 1 or height % 1 or min(width, height) < 0:
        raise DatasetError(
            f"{row.place}: expected a whole number of pixels as width and height, found "
            f"{width:g} and {height:g}"
        )
    return int(width), int(height)
