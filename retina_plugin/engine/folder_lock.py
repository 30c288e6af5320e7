"""Lock the folder of a run, to keep a second run from writing into it at the same time."""

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
except ImportError:  # Windows: folders are not locked
    CAN_LOCK = False
else:
    CAN_LOCK = True

NAME = "run.lock"
logger = logging.getLogger("retina_plugin")
_held: list[IO[bytes]] = []  # lock files that this process holds


class FolderLock:
    """A lock that the main process of a training run holds.

    The operating system releases it when the process ends, even if the process is killed. The file
    ``run.lock`` is removed at the end of the run. A killed run leaves the file, but not the lock.

    Example:
        >>> with FolderLock("out"):
        ...     train()
    """

    def __init__(self, folder: str) -> None:
        """
        Args:
            folder: an existing folder.
        """
        self.folder = folder

    @property
    def path(self) -> str:
        return os.path.join(self.folder, NAME)

    def __enter__(self) -> FolderLock:
        """
        Raises:
            ConfigError: another run holds the lock.
        """
        if not CAN_LOCK:
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
                f"another run works in {self.folder} ({holder}): wait until it ends, or choose "
                "another OUTPUT_DIR"
            ) from None
        except OSError as error:
            logger.warning(
                "%s cannot be locked (%s): nothing prevents a second run in it",
                self.folder,
                error.strerror,
            )
        if not self._is_lock_file(file):  # the other run removed the file after it was opened here
            raise ConfigError(f"another run in {self.folder} has just ended: start again")

    def _is_lock_file(self, file: IO[bytes]) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), os.stat(self.path))
        except FileNotFoundError:
            return False

    def __exit__(self, *error: Any) -> None:
        if not CAN_LOCK:
            return
        if self._is_lock_file(self._file):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
        _held.remove(self._file)
        self._file.close()


def require_unlocked(folder: str) -> None:
    """Check that no other run holds the lock of a folder, which need not exist.

    Raises:
        ConfigError: another run holds it.
    """
    if os.path.exists(os.path.join(folder, NAME)):
        with FolderLock(folder):
            pass


def _close_in_child() -> None:
    """Close the lock file in a forked loader worker, which may outlive a killed run."""
    for file in _held:
        file.close()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
