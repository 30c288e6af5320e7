"""Read CSV tables: rows with their file and line, cells as text or numbers."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from retina_plugin.data.errors import DatasetError
from retina_plugin.data.finite import is_number
from retina_plugin.data.importers.text_file import lines_of_head, read_text

SUFFIXES = (".csv", ".tsv")
DELIMITERS = ",;\t"
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)
DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}

Rows = list[list[str]]


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        cells: the text of each cell, without spaces around it.
        place: file and line, for messages.
        delimiter: the delimiter of the table.
    """

    cells: list[str]
    place: str
    delimiter: str

    def number(self, column: int, name: str) -> float:
        """Return a cell as a finite number. Decimal commas are allowed if another character
        separates cells.

        Raises:
            DatasetError: the cell is not a finite number.
        """
        text = self.cells[column]
        if DECIMAL_COMMA.fullmatch(text) and self.delimiter != ",":
            text = text.replace(",", ".")
        value = float(text) if NUMBER.fullmatch(text) else math.inf
        if not is_number(value):  # "1e999" is infinite too
            hint = (
                ". Write decimal fractions with a point, or separate cells by semicolons"
                if DECIMAL_COMMA.fullmatch(text)
                else ""
            )
            raise DatasetError(
                f"{self.place}: expected a number in column {name}, found {text!r:.80}{hint}"
            )
        return value

    def text(self, column: int, name: str) -> str:
        """Return the text of a cell.

        Raises:
            DatasetError: the cell is empty.
        """
        if not self.cells[column]:
            raise DatasetError(f"{self.place}: column {name} is empty")
        return self.cells[column]

    def box(self, columns: Sequence[int], names: Sequence[str]) -> tuple[float, ...]:
        """Return left, top, right and bottom edge from four cells.

        Raises:
            DatasetError: a cell is not a number, right < left, or bottom < top.
        """
        box = tuple(self.number(c, name) for c, name in zip(columns, names, strict=True))
        for low, high in ((0, 2), (1, 3)):
            if box[high] < box[low]:
                raise DatasetError(
                    f"{self.place}: expected {names[low]} <= {names[high]}, found {box[low]:g} and "
                    f"{box[high]:g}. If the columns are x, y, width and height, convert them to "
                    "corners"
                )
        return box


def head_rows(path: str, fits: Callable[[Rows], bool]) -> tuple[Rows, str] | None:
    """Return the first rows of a file, to recognise its format.

    Args:
        path: any file.
        fits: returns whether rows have the format; called for each delimiter.

    Returns:
        At most 20 rows and their delimiter; None if the rows fit with no delimiter.
    """
    lines = [line for line in lines_of_head(path) if line.strip()][:20]
    for delimiter in DELIMITERS:
        try:
            rows = [_stripped(row) for row in csv.reader(lines, delimiter=delimiter)]
        except csv.Error:  # an unclosed quote, or not a text file
            continue
        if rows and fits(rows):
            return rows, delimiter
    return None


def read_table(path: str, fits: Callable[[Rows], bool]) -> Iterator[Row]:
    """Yield the rows of a file, without empty rows, with the delimiter that :func:`head_rows`
    finds.

    Raises:
        DatasetError: see :func:`read_rows`.
    """
    found = head_rows(path, fits)
    return read_rows(path, found[1] if found else ",")


def read_header(rows: Iterator[Row]) -> Row:
    """Return the first row, without empty cells at its end."""
    header = next(rows)
    while header.cells and not header.cells[-1]:
        header.cells.pop()
    return header


def require_columns(header: Row, wanted: Sequence[str], missing: Sequence[str]) -> None:
    """Check that no column is missing.

    Args:
        header: the header, for messages.
        wanted: the names of all columns that are needed.
        missing: those that the header lacks.

    Raises:
        DatasetError: ``missing`` is not empty.
    """
    if missing:
        raise DatasetError(
            f"{header.place}: expected the columns {', '.join(wanted)}; found "
            f"{', '.join(header.cells)!r:.200}: {', '.join(missing)} missing"
        )


def read_rows(path: str, delimiter: str) -> Iterator[Row]:
    """Yield the rows of a file, without empty rows.

    Raises:
        DatasetError: the file is not text, or has an unclosed quote; the message names the line.
    """
    text = read_text(path)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DatasetError(f"{path}, line {line}: expected text, found a zero byte")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DatasetError(
                f"{path}, line {line}: expected cells between {NAMES[delimiter]}, found {error}. "
                "Look for a quote that is not closed."
            ) from error
        if cells is None:
            return
        cells = _stripped(cells)
        if any(cells):
            yield Row(cells, f"{path}, line {line}", delimiter)
        line = reader.line_num + 1


def require_length(row: Row, length: int, columns: str) -> None:
    """Check the number of cells of a row, after removing empty cells beyond the last column.

    Args:
        row: changed in place.
        length: the number of columns.
        columns: describes the columns, for messages.

    Raises:
        DatasetError: the row has too few or too many cells.
    """
    while len(row.cells) > length and not row.cells[-1]:
        row.cells.pop()
    if len(row.cells) != length:
        hint = " (a name with a comma needs quotes)" if len(row.cells) > length else ""
        raise DatasetError(
            f"{row.place}: expected {length} cells, {columns}; found {len(row.cells)}: "
            f"{row.delimiter.join(row.cells)!r:.120}{hint}"
        )


def _stripped(cells: Sequence[str]) -> list[str]:
    return [cell.strip().strip("\ufeff") for cell in cells]
