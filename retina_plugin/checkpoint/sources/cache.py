"""Keep downloaded weights: each file is downloaded once and is never incomplete."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from retina_plugin.checkpoint.checksum import sha256_of
from retina_plugin.checkpoint.errors import WeightsError
from retina_plugin.checkpoint.sources.download import Download, download
from retina_plugin.config.cache import VARIABLE, cache_folder
from retina_plugin.config.disk import DiskError

try:
    import fcntl
except ImportError:  # Windows: files are not locked
    fcntl = None  # type: ignore[assignment]  # None marks its absence


def cached_download(source: Download) -> str:
    """Return the path of a downloaded file; download it if it is not in the cache.

    The file is in ``weights`` below :func:`retina_plugin.config.cache.cache_folder`. A second
    process that needs the same file waits for the first one.

    Args:
        source: what to download.

    Raises:
        WeightsError: see :func:`retina_plugin.checkpoint.sources.download.download`; or the file
            has another checksum than expected and is removed.
        DiskError: the cache cannot be written.
    """
    path = os.path.join(cache_folder(), "weights", _name(source))
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with _lock(f"{path}.lock") as locked:
            if not _is_valid(path, source):
                # without a lock, each process writes a separate file
                part = f"{path}.part" if locked else f"{path}.part{os.getpid()}"
                _download(source, part, path)
    except DiskError:
        raise
    except OSError as error:
        raise DiskError(
            f"{source.url} cannot be stored at {path}: {error.strerror or error}. Set the "
            f"environment variable {VARIABLE} to a folder that can be written to."
        ) from error
    return path


def _name(source: Download) -> str:
    """Return the name of the file in the cache: one for each URL and checksum, with the suffix of
    the URL."""
    key = hashlib.sha256(f"{source.url}#{source.sha256}".encode()).hexdigest()[:12]
    name = os.path.basename(unquote(urlsplit(source.url).path))
    return f"{key}-{name[-100:]}"


def _is_valid(path: str, source: Download) -> bool:
    """Return whether the cache has the file. A file with a wrong checksum is removed."""
    if not os.path.isfile(path):
        return False
    if not source.sha256 or sha256_of(path).startswith(source.sha256):
        return True
    _say(f"{path} has another checksum than after its download: downloading it again")
    os.remove(path)
    return False


def _download(source: Download, part: str, path: str) -> None:
    _say(f"downloading {source.url}")
    expected = download(source, part)
    found = sha256_of(part)
    with contextlib.suppress(FileNotFoundError):
        os.remove(f"{part}.state")
    if not found.startswith(expected):
        os.remove(part)
        raise WeightsError(
            f"the file of {source.url} has the SHA-256 {found}, expected "
            f"{expected}{'...' if len(expected) < 64 else ''}. It is not used: the file or the "
            "checksum is wrong."
        )
    os.replace(part, path)
    _say(f"kept as {path}{'' if expected else ' (its checksum is not known)'}")


@contextlib.contextmanager
def _lock(path: str) -> Iterator[bool]:
    """Hold a lock and yield True; yield False if the file system has no locks."""
    with open(path, "ab") as file:
        locked = False
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                locked = True
            except BlockingIOError:
                _say(f"waiting for another process, which downloads {path.removesuffix('.lock')}")
                fcntl.flock(file, fcntl.LOCK_EX)
                locked = True
            except OSError:  # such as some network file systems
                locked = False
        yield locked  # closing the file releases the lock


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
