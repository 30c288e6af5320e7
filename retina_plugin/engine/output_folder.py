"""Make the folder of a run, and check before planning that it can be made."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from retina_plugin.config.errors import ConfigError


def make_folder(folder: str, *, key: str = "OUTPUT_DIR") -> None:
    """Make a folder unless it exists.

    Args:
        folder: its path.
        key: the key or flag that has this path, for messages.

    Raises:
        ConfigError: it cannot be made, or no file can be written into it.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
        cause: object = "" if writable else os.strerror(errno.EACCES)
    except OSError as error:
        cause = error.strerror or error
    if cause:
        raise ConfigError(f"{key} {folder} cannot be written to: {cause}. Choose another one.")


def require_writable(folder: str, *, key: str = "OUTPUT_DIR") -> None:
    """Check that :func:`make_folder` will succeed, without leaving new folders.

    Raises:
        ConfigError: see :func:`make_folder`.
    """
    missing = list(_missing_folders(folder))
    try:
        make_folder(folder, key=key)
    finally:
        for made in filter(os.path.isdir, missing):
            os.rmdir(made)


def _missing_folders(folder: str) -> Iterator[str]:
    """Yield ``folder`` and the folders around it that do not exist, innermost first."""
    folder = os.path.abspath(folder)
    while not os.path.lexists(folder):
        yield folder
        folder = os.path.dirname(folder)
