"""The common part of the CSV importers, which read a table for each split."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from retina_plugin.data.entry_errors import reading_entry
from retina_plugin.data.importers.annotation_files import annotation_files
from retina_plugin.data.importers.box_rows import BoxRow, collect_rows
from retina_plugin.data.importers.collect_images import split_title
from retina_plugin.data.importers.csv_table import SUFFIXES, Row, Rows, head_rows
from retina_plugin.data.importers.imported import Imported


class Table(NamedTuple):
    """A table that is open for reading.

    Attributes:
        rows: the rows after the header.
        parse: converts a row.
        class_names: all classes in order; None to use the classes that occur in any split.
        class_file: the file of the class names; None if there is none.
    """

    rows: Iterator[Row]
    parse: Callable[[Row], BoxRow]
    class_names: Sequence[str] | None = None
    class_file: str | None = None


class CSVImporter(ABC):
    """Reads the tables of one format. See :class:`Importer` for :meth:`splits` and :meth:`read`.

    Attributes:
        format: name of the format.
        unit: unit of the boxes, see :func:`collect_rows`.
    """

    format: str
    unit: str = "pixels"

    @abstractmethod
    def fits(self, rows: Rows) -> bool:
        """Return whether the first rows of a file have the format."""

    @abstractmethod
    def open_table(self, file: str, path: str) -> Table:
        """Open a table.

        Args:
            file: the table.
            path: the file or folder that the user gave.

        Raises:
            DatasetError: the header or the file of class names is invalid.
        """

    def splits(self, path: str) -> Mapping[str, str] | None:
        """See :class:`Importer`."""
        return self._files(path) or None

    def read(self, path: str, split: str, *, image_folder: str = "") -> Imported:
        """See :class:`Importer`."""
        file = self._files(path)[split]
        table = self.open_table(file, path)
        return collect_rows(
            _parse(table, file),
            format=split_title(self.format, file, split),
            file=file,
            path=path,
            split=split,
            image_folder=image_folder,
            class_names=table.class_names,
            unit=self.unit,
            watched=[file] if table.class_file is None else [file, table.class_file],
        )

    def _files(self, path: str) -> dict[str, str]:
        return annotation_files(path, SUFFIXES, self._is_table)

    def _is_table(self, file: str) -> bool:
        return file.lower().endswith(SUFFIXES) and head_rows(file, self.fits) is not None


def _parse(table: Table, file: str) -> Iterator[BoxRow]:
    while True:
        row, box = None, None
        with reading_entry(file):
            row = next(table.rows, None)
        if row is None:
            return
        with reading_entry(row.place):
            box = table.parse(row)
        if box is not None:
            yield box
