"""Files that may be read, files written whole or not at all, and files that grow by whole
entries."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator

from retina_plugin.config.disk import disk_errors

# Drafts of the files of a run, as atomic_file and version 0.1 name them.
TEMPORARY_NAME = re.compile(
    r"(model_\w+|config|last_checkpoint|predictions|coco_instances_results)"
    r"(\.part(\.\w+)?|\.(pth|yaml|json)\.part)"
)


def require_regular_file(path: str) -> None:
    """Make sure that a path is a file, before it is opened: opening a FIFO waits for its writer,
    and a device may have no end.

    Raises:
        OSError: it is not, or there is nothing.
    """
    mode = os.stat(path).st_mode
    kinds = {"directory": stat.S_ISDIR, "FIFO": stat.S_ISFIFO, "socket": stat.S_ISSOCK}
    if not stat.S_ISREG(mode):
        kind = next((kind for kind, is_kind in kinds.items() if is_kind(mode)), "device")
        raise OSError(f"it is a {kind}, not a file")


@contextlib.contextmanager
def atomic_file(path: str, *, size: Callable[[], int] | None = None) -> Iterator[str]:
    """Give the name of a draft beside ``path``. It takes the place of ``path`` after the block, or
    is removed if that fails.

    Args:
        path: in a folder that exists.
        size: bytes that the file takes, for the message; called when the disk is full.

    Raises:
        DiskError: what the block writes does not fit on the disk, or cannot be written for another
            reason.
    """
    root, suffix = os.path.splitext(path)
    draft = f"{root}.part{suffix}"
    with disk_errors(path, size):
        try:
            yield draft
            os.replace(draft, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.remove(draft)


def remove_temporary_files(folder: str) -> None:
    """Remove what killed runs have half written in ``folder``, an ``OUTPUT_DIR`` in which no run
    works now."""
    folders = [folder, os.path.join(folder, "inference")]
    for found in [*folders, *(entry.path for entry in _entries(folders[1]) if entry.is_dir())]:
        for entry in _entries(found):
            # of version 0.1 on Detectron2, for results
            if entry.name == ".part" and entry.is_dir():
                shutil.rmtree(entry.path)
            elif TEMPORARY_NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                os.remove(entry.path)


def _entries(folder: str) -> list[os.DirEntry]:
    return list(os.scandir(folder)) if os.path.isdir(folder) else []


def write_atomically(path: str, content: str | bytes) -> None:
    """Write a file whole or not at all."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    with atomic_file(path, size=lambda: len(data)) as draft, open(draft, "wb") as file:
        file.write(data)


class AppendOnlyFile:
    """A file that grows by whole entries: an entry that does not fit leaves nothing of itself
    behind.

    It has the methods of a text file that loggers and writers of metrics call. Nothing is buffered.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        with disk_errors(path):
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115  open until close()

    def write(self, entry: str | bytes) -> int:
        """Append text or bytes.

        Raises:
            DiskError: they do not fit; the file is as it was before.
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
        """Nothing is waiting to be written."""

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()
