"""Collect the errors of annotation entries instead of ending at the first one.

Readers wrap the code for each entry in :func:`reading_entry`. In training, an error in it is
raised. ``retina data check`` reads inside :func:`collecting_entry_errors`: then the entry is
skipped and its error is recorded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

from retina_plugin.data.errors import DatasetError


class EntryError(NamedTuple):
    """An entry that cannot be used.

    Attributes:
        annotation: id, or file and line, of the annotation; None if unknown or not an annotation.
        message: the error message.
    """

    annotation: Any
    message: str


_COLLECTED: ContextVar[list[EntryError] | None] = ContextVar("collected_entry_errors", default=None)


@contextlib.contextmanager
def collecting_entry_errors() -> Iterator[list[EntryError]]:
    """Skip unusable entries that are read in the ``with`` block; yield the list of their errors."""
    errors: list[EntryError] = []
    token = _COLLECTED.set(errors)
    try:
        yield errors
    finally:
        _COLLECTED.reset(token)


def is_collecting() -> bool:
    """Return whether this code runs inside :func:`collecting_entry_errors`."""
    return _COLLECTED.get() is not None


class reading_entry:
    """Context manager around the reading of one entry.

    It is a class because generators are slower, and files can have a million entries.

    Raises:
        DatasetError: the block raised it outside of :func:`collecting_entry_errors`.
    """

    __slots__ = ("annotation",)

    def __init__(self, annotation: Any = None) -> None:
        """
        Args:
            annotation: see :class:`EntryError`.
        """
        self.annotation = annotation

    def __enter__(self) -> None:
        """Start reading the entry."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        errors = _COLLECTED.get() if isinstance(error, DatasetError) else None
        if errors is None:
            return False
        errors.append(EntryError(self.annotation, str(error)))
        return True
