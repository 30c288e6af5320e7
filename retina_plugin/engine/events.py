"""TensorBoard events, written at once and by whole records.

TensorBoard's own writer works in a thread: on a full disk the thread prints a traceback and leaves
half a record.
"""

from __future__ import annotations

import itertools
import os
import socket
import time
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.writer import FileWriter

from retina_plugin.config.files import AppendedFile

_numbers = itertools.count()  # of the files of this process


class EventFile(SummaryWriter):
    """A new ``events.out.tfevents.*`` in a folder that exists."""

    def _get_file_writer(self) -> FileWriter:
        if self.all_writers is None or self.file_writer is None:
            self.file_writer = _Writer(self.log_dir)
            self.all_writers = {self.log_dir: self.file_writer}
        return self.file_writer


class _Writer(FileWriter):
    def __init__(self, folder: str) -> None:
        self.event_writer = _Records(folder)


class _Records:
    """What ``FileWriter`` calls, in the place of TensorBoard's ``EventFileWriter``."""

    def __init__(self, folder: str) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        process = f"{socket.gethostname()}.{os.getpid()}"
        name = f"events.out.tfevents.{time.time():010.0f}.{process}.{next(_numbers)}"
        self._folder, self._file = folder, AppendedFile(os.path.join(folder, name))
        self._records = RecordWriter(self._file)
        self.add_event(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def get_logdir(self) -> str:
        return self._folder

    def add_event(self, event: Any) -> None:
        self._records.write(event.SerializeToString())

    def flush(self) -> None:
        """Nothing is waiting to be written."""

    def close(self) -> None:
        self._file.close()
