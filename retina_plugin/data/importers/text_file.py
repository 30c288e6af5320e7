"""Read text files of other programs, in UTF-8, UTF-16 or UTF-32."""

from __future__ import annotations

import codecs
import os
import re

from retina_plugin.config.files import require_regular_file
from retina_plugin.data.errors import DatasetError

# UTF-32 before UTF-16: the mark of UTF-32-LE starts with that of UTF-16-LE
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
HEAD = 1 << 16  # bytes


def read_text(path: str) -> str:
    """Return the text of a file in UTF-8, UTF-16 or UTF-32. Line ends are unchanged.

    Raises:
        DatasetError: the file cannot be read or decoded.
    """
    try:
        require_regular_file(path)
        with open(path, "rb") as file:
            raw = file.read()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error
    encoding = _encoding(raw)
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DatasetError(
            f"{path}, line {line}: expected text in {error.encoding}, found byte "
            f"{raw[error.start]:#04x}. If a program wrote it in a code page such as cp1250, save "
            "it as UTF-8: iconv -f cp1250 -t utf-8."
        ) from error


def head_of(path: str) -> str:
    """Return the first 64 KiB of a file as text, with U+FFFD for invalid bytes; "" if the file does
    not exist."""
    if not os.path.isfile(path):
        return ""
    with open(path, "rb") as file:
        raw = file.read(HEAD)
    return raw.decode(_encoding(raw), errors="replace")


def lines_of_head(path: str) -> list[str]:
    """Return the lines of :func:`head_of`, without the last one if the file is longer."""
    lines = re.split(r"\r\n|\r|\n", head_of(path))
    return lines[:-1] if lines and os.path.getsize(path) > HEAD else lines


def _encoding(raw: bytes) -> str:
    """Return the encoding, from the byte order mark or from the zero bytes among the first four."""
    for mark, encoding in MARKS:
        if raw.startswith(mark):
            return encoding
    zeros = [byte == 0 for byte in raw[:4]]
    if len(zeros) == 4 and not all(zeros):
        if zeros[1] and zeros[3]:
            return "utf-32-le" if zeros[2] else "utf-16-le"
        if zeros[0] and zeros[2]:
            return "utf-32-be" if zeros[1] else "utf-16-be"
    return "utf-8"
