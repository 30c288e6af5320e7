"""Read size, orientation, bits and channels of image files without decoding the pixels."""

from __future__ import annotations

import contextlib
import os
import re
import struct
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from retina_plugin.config.files import require_regular_file
from retina_plugin.data.errors import DatasetError

ORIENTATION = 0x0112  # EXIF tag
MAX_PIXELS = 178_956_970  # the limit of Pillow, above which it raises an error
INPUT = "MODEL.RETINA_PLUGIN.INPUT"
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# start of a JPEG 2000 codestream; the bits of its first channel follow at byte 42
JPEG2000_START = b"\xff\x4f\xff\x51"
_PIXEL_LIMIT_LOCK = threading.Lock()  # held while Pillow's limit on pixels is off


@dataclass(frozen=True)
class PixelFormat:
    """How a file stores its pixels.

    Attributes:
        format: the file format, such as "PNG".
        colour: "gray", "RGB", "palette", or the name of another colour space or Pillow mode.
        channels: number of channels, including alpha.
        bits: bits per channel.
        number: "unsigned", "signed", "float" or "complex".
        inverted: whether 0 is white.
    """

    format: str
    colour: str
    channels: int
    bits: int
    number: str = "unsigned"
    inverted: bool = False

    @property
    def needs_range(self) -> bool:
        """Whether a range is needed to map the values to 0..255: more than 8 bits, or not
        unsigned."""
        return self.bits > 8 or self.number != "unsigned"

    def __str__(self) -> str:
        number = "" if self.number == "unsigned" else f"{self.number} "
        channels = "" if self.channels in (1, 3) else f" with {self.channels} channels"
        return f"{self.bits}-bit {number}{self.colour} {self.format}{channels}"


@dataclass(frozen=True)
class Header:
    """The result of :func:`read_header`.

    Attributes:
        path: the file.
        width, height: pixels of the upright image, as :func:`retina_plugin.data.read_image` returns
            it.
        orientation: the EXIF orientation 1..8; 1 if the file has none. From 5 on, the stored width
            and height are exchanged.
        pixels: how the file stores its pixels.
    """

    path: str
    width: int
    height: int
    orientation: int
    pixels: PixelFormat

    @property
    def stored_size(self) -> tuple[int, int]:
        """(width, height) of the image as stored, before EXIF rotation."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def read_header(path: str) -> Header:
    """Read size, orientation, bits and channels of an image file.

    Pixels are decoded only if a PNG file has its EXIF data after them.

    Raises:
        DatasetError: the file is missing, not a regular file, empty, or not an image.
    """
    with open_image(path) as source:
        with reraise_as_dataset_error(path):
            orientation = source.orientation()
        width, height = source.stored_size
        if orientation >= 5:
            width, height = height, width
        return Header(path, width, height, orientation, source.pixels)


class ImageSource:
    """An open image file."""

    def __init__(self, path: str, raw: IO[bytes]) -> None:
        """
        Args:
            path: the file.
            raw: the opened file, at its start.
        """
        self.path, self.raw = path, raw
        self.tags: Mapping[int, Any] = {}
        self.image: Image.Image | None = None  # None for a TIFF that Pillow cannot read
        start = raw.read(4)
        raw.seek(0)
        try:
            self.image = _open(raw)
        except UnidentifiedImageError:
            if start not in TIFF_STARTS:
                raise OSError("its format is unknown, it is not an image") from None
            raw.seek(0)
            self.tags = _tiff_tags(raw)
        if isinstance(self.image, TiffImageFile) and self.image.format == "TIFF":
            self.tags = self.image.tag_v2
        # (width, height) before EXIF rotation, which Pillow has already applied to that of a TIFF
        self.stored_size: tuple[int, int]
        if self.image is None or self.tags:
            self.stored_size = int(self.tags[256]), int(self.tags[257])
            self.pixels = _tiff_pixel_format(self.tags)
        else:
            self.stored_size = self.image.size
            self.pixels = _pixel_format(self.image, raw)

    def orientation(self) -> int:
        """Return the EXIF orientation, 1 to 8; call this before the pixels are decoded."""
        value: Any
        if self.image is None:
            value = self.tags.get(ORIENTATION)
        elif self.image.format == "PNG" and _has_late_exif(self.raw):
            self.image.load()
            value = exif_orientation(self.image)
        else:
            value = exif_orientation(self.image)
        return int(value) if value in range(1, 9) else 1


@contextlib.contextmanager
def open_image(path: str) -> Iterator[ImageSource]:
    """Open an image file and read its header.

    Errors in the ``with`` block are not converted: wrap code that decodes the file in
    :func:`reraise_as_dataset_error`.

    Raises:
        DatasetError: the file cannot be opened, or its header cannot be read.
    """
    with contextlib.ExitStack() as stack:
        with reraise_as_dataset_error(path):
            require_regular_file(path)
            if not os.path.getsize(path):
                raise OSError("the file is empty (0 bytes)")
            source = ImageSource(path, stack.enter_context(open(path, "rb")))
        yield source


@contextlib.contextmanager
def reraise_as_dataset_error(path: str) -> Iterator[None]:
    """Convert any error of a block that only reads an image file.

    Raises:
        DatasetError: the block raised an error; the message names the file.
    """
    try:
        yield
    except DatasetError:
        raise
    except Exception as error:  # errors of decoders have no common base class
        reason = str(error) or type(error).__name__
        raise DatasetError(
            f"image {path} cannot be read: {reason}. Repair it, or leave it out."
        ) from error


def exif_orientation(image: Image.Image) -> Any:
    """Return the value of the EXIF orientation tag, or None if it is missing or unreadable."""
    try:
        # call the method of the base class: the one of PNG files decodes all pixels first
        return Image.Image.getexif(image).get(ORIENTATION)
    except Exception:  # an image with broken EXIF data is still usable
        return None


def _open(raw: IO[bytes]) -> Image.Image:
    """Open an image with Pillow, without Pillow's limit on pixels.

    The config's ``MAX_PIXELS`` is checked instead, see
    :func:`retina_plugin.data.images.require_channels_and_size`.
    """
    try:
        return Image.open(raw)
    except Image.DecompressionBombError:
        raw.seek(0)
    with _PIXEL_LIMIT_LOCK:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(raw)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _tiff_tags(raw: IO[bytes]) -> Mapping[int, Any]:
    """Return the tags of the first page of a TIFF file."""
    start = raw.read(8)
    if start[2] == 43 or start[3] == 43:  # BigTIFF
        start += raw.read(8)
    tags = ImageFileDirectory_v2(start)
    raw.seek(tags.next)
    tags.load(raw)
    raw.seek(0)
    return tags


def _tiff_pixel_format(tags: Mapping[int, Any]) -> PixelFormat:
    bits, number = _largest(tags.get(258, 1)), _largest(tags.get(339, 1))
    photometric: Any = tags.get(262)
    colour = {0: "gray", 1: "gray", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "LAB"}.get(
        photometric, "other"
    )
    numbers = {2: "signed", 3: "float", 5: "complex", 6: "complex"}
    return PixelFormat(
        "TIFF",
        colour,
        int(tags.get(277, 1)),
        bits,
        numbers.get(number, "unsigned"),
        photometric == 0,
    )


def _largest(value: Any) -> int:
    return int(max(value)) if isinstance(value, tuple) else int(value)


def _pixel_format(image: Image.Image, raw: IO[bytes]) -> PixelFormat:
    mode = image.mode
    names = {
        "1": "gray",
        "L": "gray",
        "LA": "gray",
        "F": "gray",
        "I": "gray",
        "RGBA": "RGB",
        "P": "palette",
    }
    colour = "gray" if mode.startswith("I;") else names.get(mode, mode)
    number = "float" if mode == "F" else "unsigned"
    return PixelFormat(
        image.format or "image", colour, len(image.getbands()), _bits(image, raw), number
    )


def _bits(image: Image.Image, raw: IO[bytes]) -> int:
    """Return the bits per channel in the file.

    Pillow's mode is not sufficient: Pillow reduces colour images to 8 bits.
    """
    if image.mode == "F":
        return 32
    arguments = [tile[3] for tile in getattr(image, "tile", None) or []]
    words = [
        word for entry in arguments for word in (entry if isinstance(entry, tuple) else (entry,))
    ]
    if image.format == "PPM" and words and isinstance(words[-1], int):
        return max(words[-1].bit_length(), 8)  # the last word is the largest value
    if image.format == "JPEG2000":
        return _jpeg2000_bits(raw)
    if image.mode.startswith("I"):
        return 32 if image.mode == "I" and image.format not in ("PNG", "PPM") else 16
    deep = any(isinstance(word, str) and re.search(r"^(?!BGR).*;16", word) for word in words)
    return 16 if deep else 8


def _jpeg2000_bits(raw: IO[bytes]) -> int:
    position = raw.tell()
    raw.seek(0)
    start = raw.read(1 << 16)
    raw.seek(position)
    place = start.find(JPEG2000_START)
    return (start[place + 42] & 0x7F) + 1 if 0 <= place < len(start) - 42 else 8


def _has_late_exif(raw: IO[bytes]) -> bool:
    """Return whether a PNG file may have its EXIF data after its pixels.

    Pillow finds it there only after decoding the pixels.
    """
    position, seen = raw.tell(), False
    raw.seek(8)
    try:
        while len(head := raw.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            keyword = (
                raw.read(min(length, 20)) if seen and kind in (b"iTXt", b"tEXt", b"zTXt") else b""
            )
            if seen and (
                kind == b"eXIf" or keyword.startswith((b"Raw profile type", b"XML:com.adobe.xmp"))
            ):
                return True
            seen = seen or kind == b"IDAT"
            raw.seek(length + 4 - len(keyword), os.SEEK_CUR)
        return False
    finally:
        raw.seek(position)
