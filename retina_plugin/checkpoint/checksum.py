"""Checkpoints with a checksum, so that a file that was damaged after it was written is not loaded.

``torch.save`` writes a zip archive and ``torch.load`` does not verify its checksums. The SHA-256 of
everything before it is put into the archive's comment, the last bytes of the file, which every
reader of such archives skips.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
from typing import IO, Any

import torch

PREFIX = b"retina_plugin sha256 "
COMMENT = len(PREFIX) + 2 * hashlib.sha256().digest_size
END = b"PK\x05\x06"  # of an archive's last record, 22 bytes that end with the length of the comment
END_SIZE = 22


def save_with_checksum(content: Any, path: str) -> None:
    """``torch.save`` with a checksum. The bytes are on the disk when this returns.

    Raises:
        OSError: the file cannot be written in full; what was written of it is left behind.
    """
    with open(path, "w+b") as file:
        torch.save(content, file)
        file.seek(-2, os.SEEK_END)
        file.write(struct.pack("<H", COMMENT))
        file.write(_comment(file, file.tell()))
        file.flush()
        os.fsync(file.fileno())


def saved_size(content: Any) -> int:
    """Bytes that :func:`save_with_checksum` writes."""
    counter = _Counter()
    torch.save(content, counter)
    return counter.size + COMMENT


class _Counter:
    """Counts bytes in place of a file."""

    size = 0

    def write(self, data: bytes) -> int:
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is kept."""


def is_damaged(path: str) -> bool:
    """Whether an archive of ``torch.save`` is not what was written: by our checksum or, without
    one, by those of its parts.

    False for files that are no zip archives, and for archives that ``torch.save`` wrote without
    checksums.
    """
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = size - END_SIZE - COMMENT
        if start >= 0 and _at(file, start, len(END)) == END:
            return _comment(file, size - COMMENT) != _at(file, size - COMMENT, COMMENT)
        if _at(file, 0, 4) != b"PK\x03\x04":
            return False
        return _is_cut_off(file, size) or _has_wrong_part(zipfile.ZipFile(file), size)


def _is_cut_off(file: IO[bytes], size: int) -> bool:
    """Whether the comment at the end of an archive is shorter or longer than the archive says."""
    start = max(size - END_SIZE - COMMENT, 0)
    tail = _at(file, start, END_SIZE + COMMENT)
    place = tail.rfind(END)
    if not 0 <= place <= len(tail) - END_SIZE:
        return False  # no archive, or one with a long comment: not ours
    (length,) = struct.unpack_from("<H", tail, place + END_SIZE - 2)
    return place + END_SIZE + length != len(tail)


def _has_wrong_part(archive: zipfile.ZipFile, size: int) -> bool:
    parts = archive.infolist()
    # compressed, which torch.save does not do; it could be endless
    if sum(part.file_size for part in parts) > size:
        return False
    return any(part.CRC for part in parts) and archive.testzip() is not None


def _at(file: IO[bytes], start: int, length: int) -> bytes:
    file.seek(start)
    return file.read(length)


def _comment(file: IO[bytes], length: int) -> bytes:
    """The comment for the first ``length`` bytes of a file, which is left at their end."""
    file.seek(0)
    found, left = hashlib.sha256(), length
    while left and (block := file.read(min(left, 1 << 20))):
        found.update(block)
        left -= len(block)
    return PREFIX + found.hexdigest().encode()
