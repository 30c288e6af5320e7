"""Downloads from a server on the loopback address: whole, checked, continued, refused."""

from __future__ import annotations

import hashlib
import socket
import threading
from pathlib import Path

import pytest

from retina_plugin.checkpoint import WeightsError
from retina_plugin.checkpoint.sources import cache, fetch
from retina_plugin.checkpoint.sources import download as downloads
from retina_plugin.checkpoint.sources.download import Download, download
from retina_plugin.config.disk import DiskError
from tests.file_server import FileServer, server

__all__ = ["server"]
CONTENT = bytes(range(256)) * 4000  # 1 MB, several blocks
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = "0" * 64


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no pauses."""
    monkeypatch.setenv("RETINA_PLUGIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(downloads, "PAUSE", 0.0)
    return tmp_path / "cache/weights"


def address(server: FileServer, sha256: str = SHA256, name: str = "x.pth") -> str:
    return f"{server.address}/{name}#sha256={sha256}"


def kept(folder: Path) -> list[str]:
    """The files of the cache without locks, by the ends of their names."""
    names = [p.name.partition("-")[2] for p in folder.iterdir()] if folder.is_dir() else []
    return sorted(name for name in names if not name.endswith(".lock"))


def test_a_file_is_downloaded_once(server: FileServer, own_cache: Path) -> None:
    server.files["/x.pth"] = CONTENT
    path = fetch(address(server))
    assert Path(path).read_bytes() == CONTENT
    assert fetch(address(server, SHA256.upper())) == path
    assert server.requests == [("/x.pth", "")]
    assert kept(own_cache) == ["x.pth"]


def test_a_damaged_file_of_the_cache_is_replaced(
    server: FileServer, capsys: pytest.CaptureFixture
) -> None:
    server.files["/x.pth"] = CONTENT
    path = Path(fetch(address(server)))
    path.write_bytes(CONTENT[:-1])
    assert fetch(address(server)) == str(path)
    assert path.read_bytes() == CONTENT
    assert "another checksum than after its download" in capsys.readouterr().err


def test_a_wrong_checksum(server: FileServer, own_cache: Path) -> None:
    """The file is not kept, and a good file of the same URL stays."""
    server.files["/x.pth"] = CONTENT
    fetch(address(server))
    words = rf"MODEL.WEIGHTS http.*x.pth has the SHA-256 {SHA256}, expected {OTHER}"
    with pytest.raises(WeightsError, match=words):
        fetch(address(server, OTHER))
    assert kept(own_cache) == ["x.pth"]
    fetch(address(server))
    assert len(server.requests) == 2


def test_a_broken_connection_is_continued(server: FileServer, own_cache: Path) -> None:
    server.files["/x.pth"] = CONTENT
    server.breaks = [300_000, 200_000]
    assert Path(fetch(address(server))).read_bytes() == CONTENT
    assert server.requests == [
        ("/x.pth", ""),
        ("/x.pth", "bytes=300000-"),
        ("/x.pth", "bytes=500000-"),
    ]
    assert kept(own_cache) == ["x.pth"]


def interrupted(server: FileServer) -> None:
    """Leave the first 300,000 bytes in the cache: the second answer brings nothing."""
    server.files["/x.pth"] = CONTENT
    server.breaks = [300_000, 0]
    words = r"cannot be downloaded .* 0.3 MB are kept and will be continued. Without a network"
    with pytest.raises(WeightsError, match=words):
        fetch(address(server))
    server.requests.clear()


def test_a_later_call_continues(server: FileServer, own_cache: Path) -> None:
    interrupted(server)
    assert kept(own_cache) == ["x.pth.part", "x.pth.part.state"]
    assert Path(fetch(address(server))).read_bytes() == CONTENT
    assert server.requests == [("/x.pth", "bytes=300000-")]
    assert kept(own_cache) == ["x.pth"]


def test_a_server_that_states_no_version_is_not_continued(server: FileServer) -> None:
    server.files["/x.pth"], server.etag = CONTENT, ""
    server.breaks = [300_000, 0]
    with pytest.raises(WeightsError, match="cannot be downloaded") as error:
        fetch(address(server))
    assert "continued" not in str(error.value)


@pytest.mark.parametrize("cause", ["changed", "no ranges", "no version"])
def test_a_file_that_cannot_be_continued_starts_again(
    server: FileServer, own_cache: Path, cause: str
) -> None:
    interrupted(server)
    if cause == "changed":
        server.etag = '"2"'
    elif cause == "no ranges":
        server.ranges = False
    else:
        next(own_cache.glob("*.state")).write_text("")
    assert Path(fetch(address(server))).read_bytes() == CONTENT
    assert server.requests == [("/x.pth", "" if cause == "no version" else "bytes=300000-")]


def test_a_part_that_has_all_bytes_already(server: FileServer, own_cache: Path) -> None:
    """A process was killed before it renamed the complete file. The server then answers 416."""
    interrupted(server)
    next(own_cache.glob("*.part")).write_bytes(CONTENT)
    assert Path(fetch(address(server))).read_bytes() == CONTENT


def test_redirections(server: FileServer) -> None:
    server.files["/x.pth"] = CONTENT
    server.redirects["/latest.pth"] = f"{server.address}/x.pth"
    assert Path(fetch(address(server, name="latest.pth"))).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("http://example.org/x.pth", "over https only, found http://example.org/x.pth"),
        ("ftp://127.0.0.1/x.pth", "over https only, found ftp://127.0.0.1/x.pth"),
        ("file:///etc/hostname", "Redirection to url .* is not allowed"),
        ("/latest.pth", "cannot be downloaded|answers 302"),
    ],
)
def test_redirections_that_are_not_followed(
    server: FileServer, own_cache: Path, target: str, words: str
) -> None:
    server.redirects["/latest.pth"] = target
    with pytest.raises(WeightsError, match=words):
        fetch(address(server, name="latest.pth"))
    assert kept(own_cache) == []
    assert len(server.requests) <= 10


def test_the_checksum_that_hugging_face_states(server: FileServer, own_cache: Path) -> None:
    """The checksum is in a header of the redirection."""
    server.files["/x.pth"] = CONTENT
    server.redirects["/model"] = f"{server.address}/x.pth"
    server.headers["X-Linked-ETag"] = f'"{SHA256}"'
    cache.cached_download(Download(f"{server.address}/model"))
    server.headers["X-Linked-ETag"] = f'"{OTHER}"'
    server.redirects["/other"] = f"{server.address}/x.pth"
    with pytest.raises(WeightsError, match=f"expected {OTHER}"):
        cache.cached_download(Download(f"{server.address}/other"))
    assert kept(own_cache) == ["model"]


@pytest.mark.parametrize(
    ("prefix", "good"), [(SHA256[:8], True), (OTHER[:8], False)], ids=["right", "wrong"]
)
def test_a_checksum_of_eight_digits(server: FileServer, prefix: str, good: bool) -> None:
    server.files["/x.pth"] = CONTENT
    source = Download(f"{server.address}/x.pth", prefix)
    if good:
        cache.cached_download(source)
    else:
        with pytest.raises(WeightsError, match=r"expected 00000000\.\.\."):
            cache.cached_download(source)


def test_errors_of_the_server(server: FileServer, own_cache: Path) -> None:
    with pytest.raises(WeightsError, match=r"x.pth: the server answers 404 Not Found"):
        fetch(address(server))
    server.files["/x.pth"] = CONTENT
    server.headers["Content-Length"] = ""
    with pytest.raises(WeightsError, match="expected the size of the file from the server"):
        fetch(address(server))
    assert kept(own_cache) == []


def test_a_file_that_is_too_large(server: FileServer, tmp_path: Path) -> None:
    server.files["/x.pth"] = CONTENT
    with pytest.raises(WeightsError, match=r"has 1.0 MB, more than the limit of 1.0 MB"):
        download(Download(f"{server.address}/x.pth"), str(tmp_path / "x"), limit=len(CONTENT) - 1)
    assert not (tmp_path / "x").exists()
    download(Download(f"{server.address}/x.pth"), str(tmp_path / "x"), limit=len(CONTENT))


def test_a_full_disk(server: FileServer, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["/x.pth"] = CONTENT
    monkeypatch.setattr(downloads, "free_space", lambda folder: 1000)
    with pytest.raises(DiskError, match=r"has 1.0 MB, but only 1000 bytes are free .*CACHE"):
        fetch(address(server))
    assert kept(own_cache) == []


def test_a_cache_that_cannot_be_written(
    server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETINA_PLUGIN_CACHE", "/dev/null/cache")
    with pytest.raises(DiskError, match=r"cannot be stored at /dev/null.*RETINA_PLUGIN_CACHE"):
        fetch(address(server))
    assert server.requests == []


def test_no_network(own_cache: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = r"cannot be downloaded \(.*refused\). Without a network, download the file on another"
    with pytest.raises(WeightsError, match=words):
        fetch(f"http://127.0.0.1:{port}/x.pth#sha256={SHA256}")
    assert kept(own_cache) == []


def test_two_processes_download_once(server: FileServer, capsys: pytest.CaptureFixture) -> None:
    """Locks of two open files behave alike in one process and in two."""
    server.files["/x.pth"] = CONTENT
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch(address(server)))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len({*found}) == 1
    assert len(server.requests) == 1


def test_progress_is_printed(
    server: FileServer, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retina_plugin.checkpoint.sources.progress.PERIOD", 0.0)
    server.files["/x.pth"] = CONTENT
    fetch(address(server))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"downloading {server.address}/x.pth"
    assert lines[1] == "x.pth: 26% of 1.0 MB"
    assert "x.pth: 100% of 1.0 MB" in lines
    assert lines[-1].startswith("kept as ")
