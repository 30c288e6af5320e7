"""Write TensorBoard events immediately, and only complete records.

TensorBoard's own writer runs in a thread. On a full disk the thread prints a traceback and leaves
an incomplete record.
"""

from __future__ import annotations

import itertools
import os
import socket
import time
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.writer import FileWriter

from retina_plugin.config.files import AppendOnlyFile

_file_numbers = itertools.count()  # make the file names of one process unique


class EventFile(SummaryWriter):
    """Writes a new file ``events.out.tfevents.*`` into an existing folder."""

    file_writer: FileWriter | None  # type: ignore[assignment]  # torch's annotation is None
    all_writers: dict[str, FileWriter] | None  # type: ignore[assignment]  # the same

    def _get_file_writer(self) -> FileWriter:
        if self.all_writers is None or self.file_writer is None:
            self.file_writer = _FileWriter(self.log_dir)
            self.all_writers = {self.log_dir: self.file_writer}
        return self.file_writer


class _FileWriter(FileWriter):
    def __init__(self, folder: str) -> None:
        self.event_writer = _EventWriter(folder)


class _EventWriter:
    """Replaces TensorBoard's ``EventFileWriter``; has the methods that ``FileWriter`` calls."""

    def __init__(self, folder: str) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        process = f"{socket.gethostname()}.{os.getpid()}"
        name = f"events.out.tfevents.{time.time():010.0f}.{process}.{next(_file_numbers)}"
        self._folder, self._file = folder, AppendOnlyFile(os.path.join(folder, name))
        self._records = RecordWriter(self._file)
        self.add_event(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def get_logdir(self) -> str:
        return self._folder

    def add_event(self, event: Any) -> None:
        self._records.write(event.SerializeToString())

    def flush(self) -> None:
        """Do nothing: every event is written immediately."""

    def close(self) -> None:
        self._file.close()
