"""Import the CSV of keras-retinanet: rows path,x1,y1,x2,y2,class without a header. A second file
has the classes, in rows name,id.

Rows "path,,,,," are images without boxes. Paths are relative to the CSV file.
Source: https://github.com/fizyr/keras-retinanet#annotations-format
"""

from __future__ import annotations

from functools import partial

from retina_plugin.data.entry_errors import reading_entry
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.importers.annotation_files import files_in, folders_beside
from retina_plugin.data.importers.box_rows import BoxRow
from retina_plugin.data.importers.csv_importer import CSVImporter, Table
from retina_plugin.data.importers.csv_table import (
    DECIMAL_COMMA,
    NUMBER,
    SUFFIXES,
    Row,
    Rows,
    head_rows,
    read_table,
    require_length,
)
from retina_plugin.data.importers.registry import IMPORTERS

COLUMNS = "path, x1, y1, x2, y2, class"


@IMPORTERS.register("CSV of keras-retinanet")
class FizyrCSV(CSVImporter):
    """Reads the CSV files of keras-retinanet."""

    format = "CSV of keras-retinanet"

    def fits(self, rows: Rows) -> bool:
        """Return whether there is no header and most rows are valid. Reading the file reports the
        invalid rows."""
        if not any(cell == "" or _is_number(cell) for cell in rows[0][1:5]):
            return False
        valid = sum(
            len(row) >= 6
            and row[0] != ""
            and (not any(row[1:]) or all(map(_is_number, row[1:5])))
            and not any(row[6:])
            for row in rows
        )
        return 2 * valid > len(rows)

    def open_table(self, file: str, path: str) -> Table:
        """See :class:`CSVImporter`."""
        class_file = find_class_file(file, path)
        classes = None if class_file is None else _read_classes(class_file)
        parse = partial(_box, classes=classes, class_file=class_file)
        return Table(read_table(file, self.fits), parse, classes, class_file)


def find_class_file(file: str, path: str) -> str | None:
    """Return the class file that belongs to a file of boxes; None if no file fits.

    Raises:
        DatasetError: several files fit.
    """
    for folder in folders_beside(file, path):
        found = [name for name in files_in(folder, SUFFIXES) if _is_classes(name)]
        with reading_entry(file):
            if len(found) > 1:
                raise DatasetError(
                    f"{file}: expected one file of classes (rows name,id) beside it, found "
                    f"{', '.join(found)}. Move the others to another folder."
                )
        if found:
            return found[0]
    return None


def _is_number(text: str) -> bool:
    return bool(NUMBER.fullmatch(text) or DECIMAL_COMMA.fullmatch(text))


def _is_classes(path: str) -> bool:
    return head_rows(path, _has_classes) is not None


def _has_classes(rows: Rows) -> bool:
    return all(len(row) == 2 and row[0] != "" and row[1].isdecimal() for row in rows)


def _box(row: Row, *, classes: list[str] | None, class_file: str | None) -> BoxRow:
    require_length(row, 6, COLUMNS)
    image = row.text(0, "path")
    if not any(row.cells[1:]):
        return BoxRow(image, row.place)
    box = row.box((1, 2, 3, 4), ("x1", "y1", "x2", "y2"))
    name = row.text(5, "class")
    if classes is not None and name not in classes:
        raise DatasetError(
            f"{row.place}: expected a class of {class_file}, found {name!r}; it has "
            f"{', '.join(classes)!r:.200}"
        )
    return BoxRow(image, row.place, name, box)


def _read_classes(file: str) -> list[str]:
    """Return the class names in the order of their ids."""
    ids: dict[str, int] = {}
    for row in read_table(file, _has_classes):
        with reading_entry(row.place):
            require_length(row, 2, "name, id")
            name, number = row.text(0, "name"), row.text(1, "id")
            if not number.isdecimal():
                raise DatasetError(
                    f"{row.place}: expected a whole number as id, found {number!r:.80}"
                )
            if name in ids or int(number) in ids.values():
                raise DatasetError(
                    f"{row.place}: expected each name and id once, found {name!r}, {number} again"
                )
            ids[name] = int(number)
    return sorted(ids, key=ids.__getitem__)
