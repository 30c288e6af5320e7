"""Check files, and write or append to them so that an error leaves no incomplete content."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator

from retina_plugin.config.disk import disk_errors

# Names of temporary files in a run's folder, from atomic_file and from version 0.1.
TEMPORARY_NAME = re.compile(
    r"(model_\w+|config|config_final|last_checkpoint|predictions|coco_instances_results"
    r"|unfiltered_results|metrics|run|report|report_label_errors)"
    r"(\.part(\.\w+)?|\.(pth|yaml|json)\.part)"
)


def require_regular_file(path: str) -> None:
    """Check that a path is a regular file. Opening a FIFO would wait for its writer, and a device
    may have no end.

    Raises:
        OSError: the path does not exist or is not a regular file.
    """
    mode = os.stat(path).st_mode
    kinds = {"directory": stat.S_ISDIR, "FIFO": stat.S_ISFIFO, "socket": stat.S_ISSOCK}
    if not stat.S_ISREG(mode):
        kind = next((kind for kind, is_kind in kinds.items() if is_kind(mode)), "device")
        raise OSError(f"it is a {kind}, not a file")


@contextlib.contextmanager
def atomic_file(path: str, *, size: Callable[[], int] | None = None) -> Iterator[str]:
    """Write a file completely or not at all.

    Yields the path of a temporary file in the same folder, which the ``with`` block writes. It
    replaces ``path`` at the end of the block, or is removed if the block raises an error.

    Args:
        path: the file to write; its folder must exist.
        size: returns the size of the file in bytes. It is called for the message if the disk is
            full.

    Raises:
        DiskError: the disk is full or the file cannot be written.
    """
    root, suffix = os.path.splitext(path)
    temporary = f"{root}.part{suffix}"
    with disk_errors(path, size):
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.remove(temporary)


def remove_temporary_files(folder: str) -> None:
    """Remove the incomplete files of killed runs from ``folder``, an ``OUTPUT_DIR`` that no running
    process uses."""
    folders = [folder, os.path.join(folder, "inference")]
    for found in [*folders, *(entry.path for entry in _entries(folders[1]) if entry.is_dir())]:
        for entry in _entries(found):
            # version 0.1 wrote the results of Detectron2's evaluation to this folder
            if entry.name == ".part" and entry.is_dir():
                shutil.rmtree(entry.path)
            elif TEMPORARY_NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                os.remove(entry.path)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    return list(os.scandir(folder)) if os.path.isdir(folder) else []


def write_atomically(path: str, content: str | bytes) -> None:
    """Write text (as UTF-8) or bytes to a file, completely or not at all; see
    :func:`atomic_file`."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    with atomic_file(path, size=lambda: len(data)) as temporary, open(temporary, "wb") as file:
        file.write(data)


class AppendOnlyFile:
    """A file to which complete entries are appended. If an entry cannot be written completely, the
    file is restored to its former size.

    It has the methods of a file that loggers and metric writers call. Writes are not buffered.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        with disk_errors(path):
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115  open until close()

    def write(self, entry: str | bytes) -> int:
        """Append text (as UTF-8) or bytes.

        Raises:
            DiskError: the entry cannot be written. The file is unchanged.
        """
        data = (
            entry if isinstance(entry, bytes) else entry.encode("utf-8", errors="backslashreplace")
        )
        with disk_errors(self.path, lambda: len(data)):
            written = 0
            try:
                while written < len(data):
                    written += self._file.write(data[written:])
            except OSError:
                self._file.truncate(self._file.tell() - written)
                raise
        return len(entry)

    def flush(self) -> None:
        """Do nothing, because writes are not buffered."""

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()
