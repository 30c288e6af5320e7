"""Compute checksum, small grey version and brightness of many images.

Whole files are decoded, so truncated files are detected.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from retina_plugin.data.errors import DatasetError
from retina_plugin.data.headers import MAX_PIXELS, ImageSource, exif_orientation
from retina_plugin.data.images import TRANSPOSE_OF_ORIENTATION, stored_values
from retina_plugin.data.read_headers import in_threads

SIDE = 32  # height and width of the grey image, pixels
DECODED = 4 * SIDE  # smallest side of decoded JPEG files, pixels; with less, copies differ more
FLAT = 2.0  # grey levels; below this standard deviation, images would be compared by noise
THREADS = os.cpu_count() or 1  # decoding keeps a core busy


@dataclass(frozen=True)
class Thumbnail:
    """The result of :func:`read_thumbnails` for a file.

    Attributes:
        checksum: checksum of the bytes of the file; empty if it cannot be read.
        grey: (32, 32) uint8 grey values of the upright image, to find near-copies; None if the
            image is flat or cannot be decoded.
        low, high, deviation: 5th and 99th percentile and standard deviation of the grey image, in
            0..255. Values of images with more than 8 bits are first scaled from min..max to 0..255.
        error: the reason if the file cannot be decoded, else "".
    """

    checksum: bytes = b""
    grey: np.ndarray | None = field(default=None, repr=False, compare=False)
    low: float = 0.0
    high: float = 0.0
    deviation: float = 0.0
    error: str = ""


def read_thumbnails(paths: Sequence[str], *, show: bool = True) -> list[Thumbnail]:
    """Read and decode files in threads, JPEG at a reduced size.

    Args:
        paths: may be empty.
        show: whether to show a progress bar on standard error.
    """
    return in_threads(read_thumbnail, paths, description="images", threads=THREADS, show=show)


def read_thumbnail(path: str) -> Thumbnail:
    """Read and decode one file; errors are returned in the result."""
    try:
        if not os.path.isfile(path):
            raise OSError("there is no such file")
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        return Thumbnail(error=error.strerror or str(error))
    checksum = hashlib.blake2b(content, digest_size=16).digest()
    try:
        grey = _grey_image(path, content)
    except Exception as error:  # errors of decoders have no common base class
        return Thumbnail(checksum, error=str(error) or type(error).__name__)
    deviation = float(grey.std())
    low, high = np.quantile(grey, (0.05, 0.99)).tolist()
    return Thumbnail(checksum, grey if deviation >= FLAT else None, low, high, deviation)


def _grey_image(path: str, content: bytes) -> np.ndarray:
    """Return the upright image as (32, 32) uint8 grey values."""
    source = ImageSource(path, io.BytesIO(content))
    width, height = source.stored_size
    if width * height > MAX_PIXELS:
        raise DatasetError(f"it has {width}x{height} pixels, at most {MAX_PIXELS} are decoded")
    if source.image is None or source.pixels.needs_range:
        return np.asarray(_small(Image.fromarray(_values_as_bytes(path))))
    image: Any = source.image
    image.draft("L", (DECODED, DECODED))  # JPEG only: decodes at up to an eighth of the size
    image.load()  # this rotates a TIFF image and removes its orientation
    transpose = TRANSPOSE_OF_ORIENTATION.get(exif_orientation(image))
    small = _small(image if image.mode == "L" else image.convert("RGB"))
    return np.asarray(small if transpose is None else small.transpose(transpose))


def _small(image: Image.Image) -> Image.Image:
    grey = image.convert("L")
    return grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def _values_as_bytes(path: str) -> np.ndarray:
    """Return the values of an image with more than 8 bits, scaled from min..max to 0..255."""
    values = stored_values(path).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    scaled: np.ndarray = (values - low) * (255 / (high - low) if high > low else 0)
    return scaled.astype(np.uint8)
