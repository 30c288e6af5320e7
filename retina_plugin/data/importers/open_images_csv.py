"""Import CSV of Open Images. The columns are ImageID, LabelName, IsGroupOf, and XMin, XMax, YMin,
YMax as fractions of the image size. A second file has class names: "/m/011k07,Tortoise".
They are the classes of the data set, unless the file is the long list of Open Images itself: then
the classes are those that have boxes.

Source: https://storage.googleapis.com/openimages/web/download_v7.html
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from retina_plugin.data.entry_errors import reading_entry
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.importers.annotation_files import files_in, folders_beside
from retina_plugin.data.importers.box_rows import BoxRow
from retina_plugin.data.importers.csv_importer import CSVImporter, Table
from retina_plugin.data.importers.csv_table import (
    SUFFIXES,
    Row,
    Rows,
    head_rows,
    read_header,
    read_table,
    require_columns,
    require_length,
)
from retina_plugin.data.importers.registry import IMPORTERS

CORNERS = ("xmin", "ymin", "xmax", "ymax")
NEEDED = {"imageid": "ImageID", "labelname": "LabelName"}
NEEDED |= {"xmin": "XMin", "xmax": "XMax", "ymin": "YMin", "ymax": "YMax"}
NO_NAMES = "boxes keep codes such as /m/011k07 as class names: no file of class names was found"
MOST_CLASSES = (
    400  # a longer list is that of Open Images itself (601 or more), not that of the user
)
UNKNOWN_GROUP = "boxes have IsGroupOf -1 (unknown) and are treated as single objects"


@IMPORTERS.register("CSV of Open Images")
class OpenImagesCSV(CSVImporter):
    """Reads the box files of Open Images."""

    format = "CSV of Open Images"
    unit = "fraction"

    def fits(self, rows: Rows) -> bool:
        """Return whether the header has ImageID and at least two corners. Reading the file reports
        missing columns. Files of masks do not fit: their columns are BoxXMin, etc."""
        found = {name.lower() for name in rows[0]}
        return "imageid" in found and len(found & set(CORNERS)) >= 2

    def open_table(self, file: str, path: str) -> Table:
        """See :class:`CSVImporter`."""
        name_file = _find_names(file, path)
        names = {} if name_file is None else _read_names(name_file)
        rows = read_table(file, self.fits)
        header = read_header(rows)
        columns = {name.lower(): place for place, name in enumerate(header.cells)}
        missing = [name for key, name in NEEDED.items() if key not in columns]
        require_columns(header, list(NEEDED.values()), missing)
        parse = partial(
            _box, columns=columns, names=names, name_file=name_file, length=len(header.cells)
        )
        listed = sorted({*names.values()}) if 0 < len(names) <= MOST_CLASSES else None
        return Table(rows, parse, class_names=listed, class_file=name_file)


def _find_names(file: str, path: str) -> str | None:
    """Return the file of class names, beside the file of boxes or in the folder ``path``."""
    files = [name for f in folders_beside(file, path) for name in files_in(f, SUFFIXES)]
    return next((name for name in files if head_rows(name, _has_names)), None)


def _has_names(rows: Rows) -> bool:
    header = [name.lower() for name in rows[0]] == ["labelname", "displayname"]
    codes = rows[1:] if header else rows
    return bool(codes) and all(len(row) == 2 and row[0].startswith("/") for row in codes)


def _read_names(file: str) -> dict[str, str]:
    """Return {class code: class name}."""
    names: dict[str, str] = {}
    for row in read_table(file, _has_names):
        with reading_entry(row.place):
            require_length(row, 2, "code and name of a class")
            code, name = row.text(0, "code"), row.text(1, "name")
            if names.setdefault(code, name) != name:
                raise DatasetError(
                    f"{row.place}: {code} is {name!r}, but an earlier row has {names[code]!r}"
                )
    return names


def _box(
    row: Row,
    *,
    columns: Mapping[str, int],
    names: Mapping[str, str],
    name_file: str | None,
    length: int,
) -> BoxRow:
    require_length(row, length, "as many as the header has")
    image = row.text(columns["imageid"], "ImageID")
    if not any(row.cells[columns[name]] for name in ("labelname", *CORNERS)):
        return BoxRow(image, row.place)
    code = row.text(columns["labelname"], "LabelName")
    if names and code not in names and code not in names.values():
        raise DatasetError(f"{row.place}: expected a class of {name_file}, found {code!r}")
    box = row.box([columns[name] for name in CORNERS], [NEEDED[name] for name in CORNERS])
    group = row.cells[columns["isgroupof"]] if "isgroupof" in columns else "0"
    if group not in ("", "0", "1", "-1"):
        raise DatasetError(f"{row.place}: expected 0, 1 or -1 for IsGroupOf, found {group!r}")
    notes = [UNKNOWN_GROUP] if group == "-1" else []
    notes += [NO_NAMES] if not names and code.startswith("/") else []
    flags = {"group_of": 1} if group == "1" else {}
    name = names.get(code, code)
    return BoxRow(image, row.place, name, box, flags=flags, notes=tuple(notes))
