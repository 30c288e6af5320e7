"""Import CSV with a header and a row for each box, as in TensorFlow's tutorials and in Roboflow:
filename,width,height,class,xmin,ymin,xmax,ymax.

Columns may have any order and any name in ``SPELLINGS``. Rows with empty class and corners are
images without boxes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from retina_plugin.data.errors import DatasetError
from retina_plugin.data.importers.box_rows import BoxRow
from retina_plugin.data.importers.csv_importer import CSVImporter, Table
from retina_plugin.data.importers.csv_table import (
    Row,
    Rows,
    read_header,
    read_table,
    require_columns,
    require_length,
)
from retina_plugin.data.importers.flags import flag_name, read_flags
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


@IMPORTERS.register("CSV with a header")
class HeaderCSV(CSVImporter):
    """Reads tables with a header."""

    format = "CSV with a header"

    def fits(self, rows: Rows) -> bool:
        """Return whether the header has a column of file names and at least two of corners. Reading
        the file reports missing columns."""
        found = _columns(rows[0])
        return "filename" in found and sum(corner in found for corner in CORNERS) >= 2

    def open_table(self, file: str, path: str) -> Table:
        """See :class:`CSVImporter`."""
        rows = read_table(file, self.fits)
        header = read_header(rows)
        columns = _columns(header.cells)
        require_columns(header, NEEDED, [name for name in NEEDED if name not in columns])
        flags = {name: place for place, name in enumerate(header.cells) if flag_name(name)}
        return Table(rows, partial(_box, columns=columns, flags=flags, length=len(header.cells)))


def _columns(header: list[str]) -> dict[str, int]:
    """Return {name in SPELLINGS: column} for the columns in the header."""
    plain = [name.lower().replace(" ", "_") for name in header]
    return {
        name: plain.index(spelling)
        for name, spellings in SPELLINGS.items()
        for spelling in reversed(spellings)
        if spelling in plain
    }


def _box(row: Row, *, columns: Mapping[str, int], flags: Mapping[str, int], length: int) -> BoxRow:
    require_length(row, length, "as many as the header has")
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
