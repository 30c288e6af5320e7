"""A web server on the loopback address that serves files, or fails in a given way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class FileServer:
    """What a server serves, and what it was asked for.

    Attributes:
        address: ``http://127.0.0.1:PORT``.
        files: path -> content.
        redirects: path -> address.
        headers: more headers of every answer.
        breaks: bytes after which each of the first answers breaks off, one entry for each answer.
        etag: the version of all files.
        ranges: whether ``Range`` is understood.
        requests: (path, Range header) of each request.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    breaks: list[int] = field(default_factory=list)
    etag: str = '"1"'
    ranges: bool = True
    requests: list[tuple[str, str]] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    state: FileServer

    def do_GET(self) -> None:
        state, path = self.state, self.path
        state.requests.append((path, self.headers.get("Range", "")))
        if path in state.redirects:
            self._send(302, b"", {"Location": state.redirects[path]})
        elif path not in state.files:
            self.send_error(404)
        else:
            self._send_file(state.files[path])

    def _send_file(self, content: bytes) -> None:
        wanted = self.headers.get("Range", "")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if start and self.state.ranges and self.headers["If-Range"] == self.state.etag:
            if start >= len(content):
                self.send_error(416)
                return
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self._send(206, content[start:], {"Content-Range": span})
        else:
            self._send(200, content, {})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        default = {"Content-Length": str(len(body)), "ETag": self.state.etag}
        for name, value in {**default, **headers, **self.state.headers}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        breaks = self.state.breaks.pop(0) if self.state.breaks and status != 302 else len(body)
        self.wfile.write(body[:breaks])

    def log_message(self, *args: object) -> None:
        """Print nothing."""


@contextmanager
def serve() -> Iterator[FileServer]:
    """Run a server; change the fields of what is returned to change its answers."""
    state = FileServer()
    handler = type("Handler", (_Handler,), {"state": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    state.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server() -> Iterator[FileServer]:
    """A server on the loopback address."""
    with serve() as state:
        yield state
