"""``log.txt``, ``metrics.json`` and TensorBoard events of a run on Detectron2. If the disk is full,
no partial entry is written."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Iterator
from typing import IO

from detectron2.utils import comm
from detectron2.utils.events import JSONWriter, TensorboardXWriter
from detectron2.utils.logger import setup_logger

from retina_plugin.config.files import AppendOnlyFile
from retina_plugin.engine.events import EventFile

LOGGERS = ("detectron2", "fvcore")


@contextlib.contextmanager
def log_of_run(folder: str) -> Iterator[None]:
    """Within the block, append Detectron2's log lines to a file for each rank: ``log.txt``,
    ``log.txt.rank1``, ... The main process also prints it.

    Raises:
        DiskError: the disk is full. Calls in the block that log a line raise it too.
    """
    rank = comm.get_rank()
    file = _LogFile(os.path.join(folder, f"log.txt.rank{rank}" if rank else "log.txt"))
    _remove_handlers(logging.StreamHandler)  # handlers of an earlier run in this process
    setup_logger.cache_clear()
    for name in LOGGERS:
        setup_logger(distributed_rank=rank, name=name).addHandler(file)
    try:
        yield
    finally:
        _remove_handlers(_LogFile)
        file.stream.close()


class _LogFile(logging.StreamHandler):  # type: ignore[type-arg]  # no subscript in Python 3.10
    """Appends to a file. A full disk ends the run, as it does for the other files."""

    def __init__(self, path: str) -> None:
        super().__init__(AppendOnlyFile(path))
        self.setFormatter(
            logging.Formatter("[%(asctime)s] %(name)s %(levelname)s: %(message)s", "%m/%d %H:%M:%S")
        )

    def handleError(self, record: logging.LogRecord) -> None:
        raise


def _remove_handlers(kind: type[logging.Handler]) -> None:
    for logger in map(logging.getLogger, LOGGERS):
        for handler in [found for found in logger.handlers if type(found) is kind]:
            logger.removeHandler(handler)


class MetricsFile(JSONWriter):
    """Detectron2's writer of ``metrics.json``; writes whole lines."""

    _file_handle: IO[str] | AppendOnlyFile

    def __init__(self, folder: str) -> None:
        path = os.path.join(folder, "metrics.json")
        super().__init__(path)
        self._file_handle.close()
        self._file_handle = AppendOnlyFile(path)


class EventsWriter(TensorboardXWriter):
    """Detectron2's writer of TensorBoard events; writes whole records."""

    @functools.cached_property
    def _writer(self) -> EventFile:
        return EventFile(self._writer_args["log_dir"])
