"""Simulate a disk that becomes full, without root rights or a mount."""

from __future__ import annotations

import builtins
import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest


class FullDisk:
    """Writing to a file whose name contains ``at`` fails halfway; after that, every write below
    ``folder`` fails."""

    def __init__(self, folder: Path, at: str) -> None:
        self.folder, self.at, self.full = str(folder), at, False

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Replace ``open``, through which all files of a run are opened for writing."""
        monkeypatch.setattr(builtins, "open", self.open)
        monkeypatch.setattr(io, "open", self.open)

    def open(
        self,
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: Any = None,
        *args: Any,
        **kw: Any,
    ) -> Any:
        if (
            not isinstance(file, (str, os.PathLike))
            or not set(mode) & set("wax+")
            or not self.holds(str(file))
        ):
            return _OPEN(file, mode, buffering, encoding, *args, **kw)
        raw = _Raw(self, str(file), mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding)

    def holds(self, path: str) -> bool:
        return os.path.abspath(path).startswith(self.folder)


class _Raw(io.FileIO):
    def __init__(self, disk: FullDisk, path: str, mode: str) -> None:
        super().__init__(path, mode)
        self.disk = disk

    def write(self, data: Any) -> int:
        if self.disk.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.disk.at in os.path.basename(str(self.name)):
            self.disk.full = True
            return super().write(bytes(data)[: max(len(data) // 2, 1)])
        return super().write(data)


_OPEN = builtins.open
