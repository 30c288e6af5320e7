"""Compute checksum, perceptual hash and brightness of many images, from small grey versions.

Whole files are decoded, so truncated files are detected.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from retina_plugin.data.errors import DatasetError
from retina_plugin.data.headers import MAX_PIXELS, ImageSource, exif_orientation
from retina_plugin.data.images import TRANSPOSE_OF_ORIENTATION, stored_values
from retina_plugin.data.read_headers import in_threads

SIDE = 32  # height and width of the grey image, pixels
HASH_SIDE = 8  # number of lowest frequencies in each direction that the perceptual hash uses
FLAT = 2.0  # grey levels; below this standard deviation, the hash would compare noise
THREADS = os.cpu_count() or 1  # decoding keeps a core busy

# rows: the lowest HASH_SIDE of the cosine transform (DCT-II) of SIDE values, not normalised
_COSINES = np.cos(np.pi / SIDE * np.outer(np.arange(HASH_SIDE), np.arange(SIDE) + 0.5))


@dataclass(frozen=True)
class Thumbnail:
    """The result of :func:`read_thumbnails` for a file.

    Attributes:
        checksum: checksum of the bytes of the file; empty if it cannot be read.
        perceptual_hash: 64 bits, see :func:`perceptual_hash`; None if the image is flat or cannot
            be decoded.
        low, high, deviation: 5th and 99th percentile and standard deviation of the grey image, in
            0..255. Values of images with more than 8 bits are first scaled from min..max to 0..255.
        error: the reason if the file cannot be decoded, else "".
    """

    checksum: bytes = b""
    perceptual_hash: int | None = None
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
    hashed = perceptual_hash(grey) if deviation >= FLAT else None
    low, high = np.quantile(grey, (0.05, 0.99)).tolist()
    return Thumbnail(checksum, hashed, low, high, deviation)


def perceptual_hash(grey: np.ndarray) -> int:
    """Return a hash that is usually equal for copies of an image in other sizes or qualities
    (pHash).

    Args:
        grey: (32, 32) grey values.

    Returns:
        64 bits, one for each of the 8 x 8 lowest frequencies of the cosine transform. A bit is 1 if
        its coefficient is above the median of all 64.
    """
    low = _COSINES @ grey @ _COSINES.T
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def _grey_image(path: str, content: bytes) -> np.ndarray:
    """Return the upright image as (32, 32) float64 grey values in 0..255."""
    source = ImageSource(path, io.BytesIO(content))
    width, height = source.stored_size
    if width * height > MAX_PIXELS:
        raise DatasetError(f"it has {width}x{height} pixels, at most {MAX_PIXELS} are decoded")
    if source.image is None or source.pixels.needs_range:
        return np.asarray(_small(Image.fromarray(_values_as_bytes(path))), dtype=np.float64)
    image: Any = source.image
    image.draft("L", (2 * SIDE, 2 * SIDE))  # JPEG only: decodes at up to an eighth of the size
    image.load()  # this rotates a TIFF image and removes its orientation
    transpose = TRANSPOSE_OF_ORIENTATION.get(exif_orientation(image))
    small = _small(image if image.mode == "L" else image.convert("RGB"))
    return np.asarray(small if transpose is None else small.transpose(transpose), np.float64)


def _small(image: Image.Image) -> Image.Image:
    grey = image.convert("L")
    return grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0)


def _values_as_bytes(path: str) -> np.ndarray:
    """Return the values of an image with more than 8 bits, scaled from min..max to 0..255."""
    values = stored_values(path).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    scaled: np.ndarray = (values - low) * (255 / (high - low) if high > low else 0)
    return scaled.astype(np.uint8)
