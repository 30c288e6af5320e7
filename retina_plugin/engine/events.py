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

from retina_plugin.config.files import AppendedFile

_numbers = itertools.count()  # of the files of this process


class EventFile:
    """A new ``events.out.tfevents.*`` in a folder, with the methods of ``SummaryWriter`` that a run
    needs."""

    def __init__(self, folder: str) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        process = f"{socket.gethostname()}.{os.getpid()}"
        name = f"events.out.tfevents.{time.time():010.0f}.{process}.{next(_numbers)}"
        self._event, self._file = Event, AppendedFile(os.path.join(folder, name))
        self._records = RecordWriter(self._file)
        self._write(file_version="brain.Event:2")

    def add_scalar(self, name: str, value: float, step: int) -> None:
        from torch.utils.tensorboard.summary import scalar

        self._write(summary=scalar(name, value), step=step)

    def add_image(self, name: str, image: Any, step: int, dataformats: str = "CHW") -> None:
        """
        Args:
            name: of the picture.
            image: (3, H, W) or (H, W, 3) uint8 RGB, by ``dataformats``.
            step: of the training.
        """
        from torch.utils.tensorboard.summary import image as picture

        self._write(summary=picture(name, image, dataformats=dataformats), step=step)

    def add_histogram_raw(self, tag: str, *, global_step: int, **counts: Any) -> None:
        """A histogram of Detectron2's event storage."""
        from torch.utils.tensorboard.summary import histogram_raw

        self._write(summary=histogram_raw(tag, **counts), step=global_step)

    def _write(self, **content: Any) -> None:
        self._records.write(self._event(wall_time=time.time(), **content).SerializeToString())

    def close(self) -> None:
        self._file.close()
