"""Convert errors of writing files into messages with the needed and the free disk space."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class DiskError(OSError):
    """A file cannot be written. The message names the file and says what to do."""


@contextlib.contextmanager
def disk_errors(path: str, size: Callable[[], int] | None = None) -> Iterator[None]:
    """Convert errors of writing ``path`` into a :class:`DiskError`.

    Args:
        path: the file that the ``with`` block writes.
        size: returns the size of the file in bytes. It is called for the message if the disk is
            full.
    """
    try:
        yield
    except DiskError:
        raise
    # torch.save raises RuntimeError if it cannot write
    except (OSError, RuntimeError) as error:
        cause = _os_error(error)
        if cause is None:
            raise
        raise _disk_error(cause, path, size) from error


def _os_error(error: BaseException | None) -> OSError | None:
    """Return the first OSError in a chain of exceptions, or None."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def _disk_error(cause: OSError, path: str, size: Callable[[], int] | None) -> DiskError:
    message = f"cannot write {path}: {cause.strerror or cause}"
    if cause.errno in DISK_FULL:
        needed = f"it needs {format_size(size())}, " if size else ""
        free = format_size(free_space(os.path.dirname(os.path.abspath(path))))
        message += (
            f" ({needed}{free} are free). Earlier files are complete: free some space, then start "
            "again, a training with --resume"
        )
    if cause.errno == errno.EFBIG:
        needed = f"its size of {format_size(size())} " if size else "it "
        message += (
            f" ({needed}exceeds the limit on file sizes of ulimit -f or of the file system). "
            "Earlier files are complete: raise the limit or write to another folder, then start "
            "again, a training with --resume"
        )
    error = DiskError(message)
    error.errno = cause.errno
    return error


def free_space(folder: str) -> int:
    """Return the number of bytes that this user can still write to ``folder``. If the folder does
    not exist, use its nearest existing parent."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder) or "."
    return shutil.disk_usage(folder).free


def format_size(size: int) -> str:
    """Format a number of bytes: 1234567 -> "1.2 MB". Below 100,000 the unit is bytes."""
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size} bytes"
