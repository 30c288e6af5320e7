"""A lock on the folder of a run, so that a second run does not write into it at the same time."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from typing import IO, Any

from retina_plugin.config.disk import disk_errors
from retina_plugin.config.errors import ConfigError

try:
    import fcntl
except ImportError:  # Windows, where folders are not locked
    fcntl = None

NAME = "run.lock"
logger = logging.getLogger("retina_plugin")
_held: list[IO[bytes]] = []


class FolderLock:
    """Held by the main process of a training run. It disappears with the process, also when that is
    killed.

    The file ``run.lock`` is removed at the end of the run. What a killed run leaves behind locks
    nothing.

    Example:
        >>> with FolderLock("out"):
        ...     train()
    """

    def __init__(self, folder: str) -> None:
        """
        Args:
            folder: exists.
        """
        self.folder = folder

    @property
    def path(self) -> str:
        return os.path.join(self.folder, NAME)

    def __enter__(self) -> FolderLock:
        """
        Raises:
            ConfigError: another run works in the folder.
        """
        if fcntl is None:
            return self
        file = open(self.path, "a+b", buffering=0)
        try:
            self._lock(file)
            with disk_errors(self.path):
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
        except BaseException:
            file.close()
            raise
        _held.append(file)
        self._file = file
        return self

    def _lock(self, file: IO[bytes]) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().decode() or "it has just started"
            raise ConfigError(
                f"another run works in {self.folder} ({holder}): wait for its end, or take another "
                "OUTPUT_DIR"
            ) from None
        except OSError as error:
            logger.warning(
                "%s cannot be locked (%s): nothing prevents a second run in it",
                self.folder,
                error.strerror,
            )
        if not self._is(file):  # its run ended, and removed it, after it was opened here
            raise ConfigError(f"another run in {self.folder} has just ended: start again")

    def _is(self, file: IO[bytes]) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), os.stat(self.path))
        except FileNotFoundError:
            return False

    def __exit__(self, *error: Any) -> None:
        if fcntl is None:
            return
        if self._is(self._file):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
        _held.remove(self._file)
        self._file.close()


def require_unlocked(folder: str) -> None:
    """Make sure that no other run works in a folder, which need not exist.

    Raises:
        ConfigError: another run does.
    """
    if os.path.exists(os.path.join(folder, NAME)):
        with FolderLock(folder):
            pass


def _close_in_child() -> None:
    """A forked loader worker that outlives a killed run would keep its lock."""
    for file in _held:
        file.close()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
