"""What an image file says of itself before its pixels are decoded: size, orientation, bits and
channels."""

from __future__ import annotations

import contextlib
import os
import re
import struct
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from retina_plugin.config.files import require_regular_file
from retina_plugin.data.errors import DatasetError

ORIENTATION = 0x0112  # EXIF tag
MAX_PIXELS = 178_956_970  # Pillow's own limit
INPUT = "MODEL.RETINA_PLUGIN.INPUT"
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# start of a JPEG 2000 codestream; 42 bytes on stand the bits of its first channel
SIZ = b"\xff\x4f\xff\x51"
_UNLIMITED = threading.Lock()


@dataclass(frozen=True)
class PixelFormat:
    """How a file stores its pixels.

    Attributes:
        format: such as "PNG".
        colour: "gray", "RGB", or Pillow's name of another mode.
        channels: with alpha.
        bits: of a channel.
        number: "unsigned", "signed", "float" or "complex".
        inverted: 0 is white.
    """

    format: str
    colour: str
    channels: int
    bits: int
    number: str = "unsigned"
    inverted: bool = False

    @property
    def needs_range(self) -> bool:
        """Whether the values have no fixed relation to 0..255: more than 8 bits, signed, or
        float."""
        return self.bits > 8 or self.number != "unsigned"

    def __str__(self) -> str:
        number = "" if self.number == "unsigned" else f"{self.number} "
        channels = "" if self.channels in (1, 3) else f" with {self.channels} channels"
        return f"{self.bits}-bit {number}{self.colour} {self.format}{channels}"


@dataclass(frozen=True)
class Header:
    """What :func:`read_header` finds.

    Attributes:
        path: of the file.
        width, height: in pixels, upright: as :func:`retina_plugin.data.read_image` gives the image.
        orientation: EXIF's 1..8; 1 if the file has none. From 5 on, the stored width and height are
            the other way round.
        pixels: how the file stores them.
    """

    path: str
    width: int
    height: int
    orientation: int
    pixels: PixelFormat

    @property
    def stored_size(self) -> tuple[int, int]:
        """(width, height) before the picture is turned upright."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def read_header(path: str) -> Header:
    """Read size, orientation, bits and channels of an image file; pixels are not decoded.

    Raises:
        DatasetError: the file is missing, not a regular file (a FIFO is not opened), empty, or no
            image; it is named.
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
            path: of the file.
            raw: the file, at its start.
        """
        self.path, self.raw = path, raw
        self.tags: Mapping[int, Any] = {}
        self.image: Image.Image | None = None  # None for a TIFF of a kind that Pillow does not know
        start = raw.read(4)
        raw.seek(0)
        try:
            self.image = _open(raw)
        except Image.UnidentifiedImageError:
            if start not in TIFF_STARTS:
                raise OSError("cannot identify its format, it is no image") from None
            raw.seek(0)
            self.tags = _tiff_tags(raw)
        if self.image is not None and self.image.format == "TIFF":
            self.tags = self.image.tag_v2
        self.stored_size = self._stored_size()
        self.pixels = _pixels_of_tiff(self.tags) if self.tags else _pixels(self.image, raw)

    def _stored_size(self) -> tuple[int, int]:
        """(width, height) of the rows and columns in the file; Pillow gives those of a TIFF already
        turned."""
        if self.tags:
            return int(self.tags[256]), int(self.tags[257])
        return self.image.size

    def orientation(self) -> int:
        """EXIF's orientation, 1 to 8. Call it before the pixels are decoded."""
        if self.image is None:
            value = self.tags.get(ORIENTATION)
        elif self.image.format == "PNG" and _has_late_exif(self.raw):
            self.image.load()
            value = exif_orientation(self.image)
        else:
            value = exif_orientation(self.image)
        return value if value in range(1, 9) else 1


@contextlib.contextmanager
def open_image(path: str) -> Iterator[ImageSource]:
    """An image file with its header read.

    Raises:
        DatasetError: it cannot be open_image, or its header cannot be read; it is named. What goes
            wrong in the ``with`` block is not the file's fault: wrap what decodes it in
            :func:`reraise_as_dataset_error`.
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
    """For blocks that do nothing but read an image file: whatever they raise is its fault.

    Raises:
        DatasetError: names the file.
    """
    try:
        yield
    except DatasetError:
        raise
    except Exception as error:  # what decoders raise on broken files has no common base
        reason = str(error) or type(error).__name__
        raise DatasetError(
            f"image {path} cannot be read: {reason}. Repair it, or leave it out."
        ) from error


def exif_orientation(image: Image.Image) -> Any:
    """The value of EXIF's tag, None where there is none."""
    try:
        # that of PNG files decodes all pixels first
        return Image.Image.getexif(image).get(ORIENTATION)
    except Exception:  # broken EXIF data is no reason to lose a picture
        return None


def _open(raw: IO[bytes]) -> Image.Image:
    """Open with Pillow, without its limit on pixels: ``MAX_PIXELS`` takes its place."""
    try:
        return Image.open(raw)
    except Image.DecompressionBombError:
        raw.seek(0)
    with _UNLIMITED:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(raw)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _tiff_tags(raw: IO[bytes]) -> Mapping[int, Any]:
    """The tags of the first page of a TIFF file."""
    start = raw.read(8)
    if start[2] == 43 or start[3] == 43:  # BigTIFF
        start += raw.read(8)
    tags = ImageFileDirectory_v2(start)
    raw.seek(tags.next)
    tags.load(raw)
    raw.seek(0)
    return tags


def _pixels_of_tiff(tags: Mapping[int, Any]) -> PixelFormat:
    bits, number, photometric = (
        _largest(tags.get(258, 1)),
        _largest(tags.get(339, 1)),
        tags.get(262),
    )
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


def _pixels(image: Image.Image, raw: IO[bytes]) -> PixelFormat:
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
    """Bits of a channel in the file: Pillow's mode hides those of colour images, which it cuts to
    8."""
    if image.mode == "F":
        return 32
    arguments = [tile[3] for tile in getattr(image, "tile", None) or []]
    words = [
        word for entry in arguments for word in (entry if isinstance(entry, tuple) else (entry,))
    ]
    if image.format == "PPM" and words and isinstance(words[-1], int):
        return max(words[-1].bit_length(), 8)  # the largest value
    if image.format == "JPEG2000":
        return _bits_of_jpeg2000(raw)
    if image.mode.startswith("I"):
        return 32 if image.mode == "I" and image.format not in ("PNG", "PPM") else 16
    deep = any(isinstance(word, str) and re.search(r"^(?!BGR).*;16", word) for word in words)
    return 16 if deep else 8


def _bits_of_jpeg2000(raw: IO[bytes]) -> int:
    position = raw.tell()
    raw.seek(0)
    start = raw.read(1 << 16)
    raw.seek(position)
    place = start.find(SIZ)
    return (start[place + 42] & 0x7F) + 1 if 0 <= place < len(start) - 42 else 8


def _has_late_exif(raw: IO[bytes]) -> bool:
    """Whether a PNG file may have its orientation after its pixels, where Pillow finds it only when
    it decodes them."""
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
