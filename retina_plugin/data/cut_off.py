"""Find image files that were cut off, without decoding whole files."""

from __future__ import annotations

import os

from retina_plugin.data.headers import Header
from retina_plugin.data.images import read_image, stored_values

# bytes near the end of a complete file: JPEG's end-of-image marker, PNG's last chunk
END_MARKERS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
TAIL = 1024  # bytes; some cameras and editors write a few bytes after the end of the image


def require_complete_file(header: Header, *, max_pixels: int) -> None:
    """Decode a JPEG or PNG file if the marker of its end is missing.

    Other formats are not checked. Pixels are decoded only if the marker is missing, so a complete
    file needs only one short read.

    Args:
        header: header of the file.
        max_pixels: see :func:`retina_plugin.data.read_image`.

    Raises:
        DatasetError: the pixels cannot be decoded.
    """
    marker = END_MARKERS.get(header.pixels.format)
    if marker is None or marker in _tail(header.path):
        return
    if header.pixels.needs_range:
        stored_values(header.path, max_pixels=max_pixels)
    else:
        read_image(header.path, max_pixels=max_pixels)


def _tail(path: str) -> bytes:
    """Return the last bytes of a file."""
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
        return file.read()
