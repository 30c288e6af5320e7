"""A full disk: one message with the file, the space that it needs and the space that is left."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator

FULL = (errno.ENOSPC, errno.EDQUOT)


class DiskError(OSError):
    """A file that cannot be written; the message names it and says what to do."""


@contextlib.contextmanager
def disk_errors(path: str, size: Callable[[], int] | None = None) -> Iterator[None]:
    """Turn errors of writing ``path`` into a :class:`DiskError`.

    Args:
        path: the file that the block writes.
        size: bytes that the file takes, for the message; called when the disk is full.
    """
    try:
        yield
    except DiskError:
        raise
    # torch.save answers an error of writing with a RuntimeError
    except (OSError, RuntimeError) as error:
        cause = _os_error(error)
        if cause is None:
            raise
        raise _disk_error(cause, path, size) from error


def _os_error(error: BaseException | None) -> OSError | None:
    """The first error of the system in a chain of errors."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def _disk_error(cause: OSError, path: str, size: Callable[[], int] | None) -> DiskError:
    message = f"cannot write {path}: {cause.strerror or cause}"
    if cause.errno in FULL:
        needed = f"it needs {format_size(size())}, " if size else ""
        free = format_size(free_space(os.path.dirname(os.path.abspath(path))))
        message += (
            f" ({needed}{free} are free). Files written before are whole: make room, then continue "
            "with --resume"
        )
    if cause.errno == errno.EFBIG:
        needed = f"it needs {format_size(size())} and " if size else ""
        message += (
            f" ({needed}a limit on the size of files is in the way: ulimit -f, or that of the file "
            "system). Files written before are whole: raise the limit, or take an OUTPUT_DIR "
            "elsewhere, then continue with --resume"
        )
    error = DiskError(message)
    error.errno = cause.errno
    return error


def free_space(folder: str) -> int:
    """Bytes that this user may still write into ``folder``, or the nearest folder above it that
    exists."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder) or "."
    return shutil.disk_usage(folder).free


def format_size(size: int) -> str:
    """1234567 -> "1.2 MB"; below a tenth of that, bytes."""
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size} bytes"
