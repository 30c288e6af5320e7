"""Download a file over HTTPS, and continue an earlier download that was interrupted."""

from __future__ import annotations

import http.client
import ipaddress
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPRedirectHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

from retina_plugin.checkpoint.errors import WeightsError
from retina_plugin.checkpoint.sources.progress import Progress
from retina_plugin.config.cache import VARIABLE
from retina_plugin.config.disk import DiskError, format_size, free_space

SIZE_LIMIT = 8 * 10**9  # bytes; the largest checkpoints of detectors have about 2 GB
TIMEOUT = 30.0  # seconds without any data
PAUSE = 1.0  # seconds before a download is continued
BLOCK = 1 << 18
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Download:
    """A file on a server.

    Attributes:
        url: its address.
        sha256: the first digits of its SHA-256, up to all 64; "" if unknown.
    """

    url: str
    sha256: str = ""


class _Interrupted(http.client.HTTPException):
    """The connection ended before the end of the file. It is not an OSError, so that it is not
    mistaken for an error of the disk."""


def download(source: Download, path: str, *, limit: int = SIZE_LIMIT) -> str:
    """Download a file, or complete an interrupted download at ``path``.

    The rest is requested with ``Range`` and ``If-Range``, so a file that has changed on the server
    is downloaded from its start. If the connection breaks, the download continues as long as each
    attempt brings more of the file.

    Args:
        source: what to download.
        path: where to write; the folder must exist. Beside it, ``path.state`` keeps the version of
            the file on the server.
        limit: largest size in bytes.

    Returns:
        The first digits of the SHA-256 that the file must have: those of ``source``, or those that
        the server states; "" if unknown.

    Raises:
        WeightsError: the address or a redirection is not https, the server does not answer or
            refuses, or the file is too large.
        DiskError: the file cannot be written.
    """
    require_safe(source.url, loopback=_is_loopback(source.url))
    progress = Progress(os.path.basename(urlsplit(source.url).path))
    try:
        while True:
            before = _size(path)
            try:
                return _receive(source, path, limit, progress)
            except DiskError:
                raise
            except HTTPError as error:
                if error.code != 416 or not before:  # 416: the server has no bytes after these
                    raise WeightsError(
                        f"{source.url}: the server answers {error.code} {error.reason}"
                    ) from error
                os.remove(path)
            except (OSError, http.client.HTTPException) as error:
                if _size(path) <= before:
                    raise WeightsError(_unreachable(source.url, error, path)) from error
                time.sleep(PAUSE)
    finally:
        progress.close()


def _receive(source: Download, path: str, limit: int, progress: Progress) -> str:
    """Make one request and write its answer to ``path``; see :func:`download`."""
    done, version = _size(path), _read_text(f"{path}.state")
    headers = {"User-Agent": "retina_plugin", "Accept-Encoding": "identity"}
    if done and version:
        headers |= {"Range": f"bytes={done}-", "If-Range": version}
    redirects = _SafeRedirects(loopback=_is_loopback(source.url))
    with _opener(source.url, redirects).open(
        Request(source.url, headers=headers), timeout=TIMEOUT
    ) as response:
        start = done if response.status == 206 else 0
        size = _size_of_file(response.headers, source.url, start=start)
        _require_room(size, start, path, limit, source.url)
        try:
            if not start:
                _write_version(f"{path}.state", response.headers)
            with open(path, "ab" if start else "wb") as file:
                _copy(response, file, start, size, progress)
        except OSError as error:
            raise DiskError(
                f"cannot write {path}: {error.strerror or error}. Free some space, or set the "
                f"environment variable {VARIABLE} to another folder."
            ) from error
    return source.sha256 or redirects.stated_sha256


def _copy(response: Any, file: IO[bytes], start: int, size: int, progress: Progress) -> None:
    """Copy the body of a response.

    Raises:
        _Interrupted: the body is shorter than the server has stated.
    """
    done = start
    while block := _read_block(response):
        file.write(block)
        done += len(block)
        progress.update(done, size)
    if done != size:
        raise _Interrupted(f"the connection ended after {done} of {size} bytes")


def _read_block(response: Any) -> bytes:
    """Read from the network; any error becomes :class:`_Interrupted`."""
    try:
        data: bytes = response.read(BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted(str(error) or type(error).__name__) from None
    return data


class _SafeRedirects(HTTPRedirectHandler):
    """Follows redirections to https only, and keeps the checksum that Hugging Face states."""

    max_redirections = 5

    def __init__(self, *, loopback: bool) -> None:
        """
        Args:
            loopback: whether http addresses of this machine are also allowed.
        """
        self.loopback, self.stated_sha256 = loopback, ""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        require_safe(newurl, loopback=self.loopback)
        stated = headers.get("X-Linked-ETag", "").strip('"')
        if SHA256.fullmatch(stated):
            self.stated_sha256 = stated
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def require_safe(url: str, *, loopback: bool) -> None:
    """Check that an address is https.

    Args:
        url: the address.
        loopback: whether http addresses of this machine are also allowed.

    Raises:
        WeightsError: the address is not allowed.
    """
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if not (loopback and parts.scheme == "http" and _is_loopback(url)):
        raise WeightsError(
            f"weights are downloaded over https only, found {url}. Download the file yourself and "
            "give its path."
        )


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def _opener(url: str, redirects: HTTPRedirectHandler) -> OpenerDirector:
    direct = [ProxyHandler({})] if _is_loopback(url) else []
    return build_opener(redirects, *direct)


def _size_of_file(headers: Mapping[str, str], url: str, *, start: int) -> int:
    """Return the size of the whole file.

    Raises:
        WeightsError: the server does not state it, or sends another part than was requested.
    """
    length, sent = headers.get("Content-Length", ""), headers.get("Content-Range", "")
    if not length.isdecimal() or (start and not sent.startswith(f"bytes {start}-")):
        raise WeightsError(
            f"{url}: expected the size of the file from the server, found Content-Length "
            f"{length!r} and Content-Range {sent!r}: download the file yourself and give its path."
        )
    return start + int(length)


def _require_room(size: int, start: int, path: str, limit: int, url: str) -> None:
    folder = os.path.dirname(path)
    if size > limit:
        raise WeightsError(
            f"{url} has {format_size(size)}, more than the limit of {format_size(limit)}: download "
            "the file yourself and give its path."
        )
    if size - start > (free := free_space(folder)):
        raise DiskError(
            f"{url} has {format_size(size)}, but only {format_size(free)} are free in {folder}: "
            f"free some space, or set the environment variable {VARIABLE} to another folder"
        )


def _unreachable(url: str, error: Exception, path: str) -> str:
    reason = getattr(error, "reason", None) or error
    size, version = _size(path), _read_text(f"{path}.state")
    # without a version, the next call cannot know whether the rest belongs to the same file
    kept = f" {format_size(size)} are kept and will be continued." if size and version else ""
    return (
        f"{url} cannot be downloaded ({reason}).{kept} Without a network, download the file on "
        "another machine and give its path, or '' to start from random weights."
    )


def _write_version(path: str, headers: Mapping[str, str]) -> None:
    """Write the ETag or the date that identifies the file's version on the server. Weak ETags do
    not identify it."""
    tag = headers.get("ETag", "")
    version = headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag
    with open(path, "w", encoding="utf-8") as file:
        file.write(version)


def _read_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _size(path: str) -> int:
    return os.path.getsize(path) if os.path.isfile(path) else 0
