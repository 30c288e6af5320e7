"""Save checkpoints with a checksum, and detect files that were damaged after they were written.

``torch.save`` writes a zip archive, and ``torch.load`` does not verify its checksums. Therefore the
SHA-256 of the archive is appended as the archive's comment, which readers of zip files skip.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
from typing import IO, Any

import torch

PREFIX = b"retina_plugin sha256 "
COMMENT_SIZE = len(PREFIX) + 2 * hashlib.sha256().digest_size
# The "end of central directory" record of a zip archive: its signature and its size in bytes. Its
# last two bytes are the length of the comment that follows.
END_SIGNATURE = b"PK\x05\x06"
END_SIZE = 22


def save_with_checksum(content: Any, path: str) -> None:
    """Save ``content`` with ``torch.save``, append a checksum, and flush the file to the disk.

    Raises:
        OSError: the file cannot be written completely. The incomplete file is not removed.
    """
    with open(path, "w+b") as file:
        torch.save(content, file)
        file.seek(-2, os.SEEK_END)
        file.write(struct.pack("<H", COMMENT_SIZE))
        file.write(_checksum_comment(file, file.tell()))
        file.flush()
        os.fsync(file.fileno())


def saved_size(content: Any) -> int:
    """Return the number of bytes that :func:`save_with_checksum` would write."""
    counter = _ByteCounter()
    torch.save(content, counter)  # type: ignore[arg-type]  # any object with write() will do
    return counter.size + COMMENT_SIZE


class _ByteCounter:
    """Counts the bytes that are written to it and discards them."""

    size = 0

    def write(self, data: bytes) -> int:
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing; ``torch.save`` calls it."""


def is_damaged(path: str) -> bool:
    """Return whether an archive of ``torch.save`` was changed after it was written.

    The checksum of :func:`save_with_checksum` is compared or, in archives without it, the CRCs of
    the zip entries. The result is False for files that are not zip archives and for archives
    without any checksum.
    """
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = size - END_SIZE - COMMENT_SIZE
        if start >= 0 and _read_at(file, start, len(END_SIGNATURE)) == END_SIGNATURE:
            end = size - COMMENT_SIZE
            return _checksum_comment(file, end) != _read_at(file, end, COMMENT_SIZE)
        if _read_at(file, 0, 4) != b"PK\x03\x04":
            return False
        return _is_truncated(file, size) or _has_wrong_crc(zipfile.ZipFile(file), size)


def _is_truncated(file: IO[bytes], size: int) -> bool:
    """Return whether the comment of a zip archive is shorter or longer than its end record says."""
    start = max(size - END_SIZE - COMMENT_SIZE, 0)
    tail = _read_at(file, start, END_SIZE + COMMENT_SIZE)
    position = tail.rfind(END_SIGNATURE)
    if not 0 <= position <= len(tail) - END_SIZE:
        return False  # not an archive, or an archive with a longer comment than COMMENT_SIZE
    length: int = struct.unpack_from("<H", tail, position + END_SIZE - 2)[0]
    return position + END_SIZE + length != len(tail)


def _has_wrong_crc(archive: zipfile.ZipFile, size: int) -> bool:
    entries = archive.infolist()
    # A compressed archive is not checked: torch.save does not compress, and a small archive can
    # unpack to an enormous size.
    if sum(entry.file_size for entry in entries) > size:
        return False
    return any(entry.CRC for entry in entries) and archive.testzip() is not None


def _read_at(file: IO[bytes], start: int, length: int) -> bytes:
    file.seek(start)
    return file.read(length)


def sha256_of(path: str) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return _sha256(file, os.fstat(file.fileno()).st_size)


def _checksum_comment(file: IO[bytes], length: int) -> bytes:
    """Return the comment with the checksum of the first ``length`` bytes of a file. The file
    position is ``length`` afterwards."""
    return PREFIX + _sha256(file, length).encode()


def _sha256(file: IO[bytes], length: int) -> str:
    file.seek(0)
    checksum, left = hashlib.sha256(), length
    while left and (block := file.read(min(left, 1 << 20))):
        checksum.update(block)
        left -= len(block)
    return checksum.hexdigest()
