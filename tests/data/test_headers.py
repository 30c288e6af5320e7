"""Headers of image files: size, orientation, bits and channels without decoding; errors of other
files."""

from __future__ import annotations

import os
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retina_plugin.data import DatasetError, read_header, read_image
from retina_plugin.data.images import ORIENTATION
from tests.deep_images import write_png16, write_tiff

RGB16 = np.zeros((2, 4, 3), np.uint16)


def write(path: Path, content: object) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, Image.Image):
        content.save(path)
    elif path.suffix == ".png":
        write_png16(path, content)
    else:
        write_tiff(path, content)


@pytest.mark.parametrize(
    ("name", "content", "kind", "needs_range"),
    [
        ("a.jpg", Image.new("RGB", (4, 2)), "8-bit RGB JPEG", False),
        ("a.png", Image.new("1", (4, 2)), "8-bit gray PNG", False),
        ("a.png", Image.new("P", (4, 2)), "8-bit palette PNG", False),
        ("a.png", Image.new("RGBA", (4, 2)), "8-bit RGB PNG with 4 channels", False),
        ("a.jpg", Image.new("CMYK", (4, 2)), "8-bit CMYK JPEG with 4 channels", False),
        ("a.png", RGB16[..., 0], "16-bit gray PNG", True),
        ("a.png", RGB16, "16-bit RGB PNG", True),
        (
            "a.bmp",
            b"BM"
            + struct.pack(
                "<IIIIiiHHIIIIIIII", 70, 0, 54, 40, 4, -2, 1, 16, 0, 16, 0, 0, 0, 0, 0, 0
            ),
            "8-bit RGB BMP",
            False,
        ),
        ("a.ppm", b"P6 4 2 255\n" + bytes(24), "8-bit RGB PPM", False),
        ("a.ppm", b"P6 4 2 4095\n" + bytes(48), "12-bit RGB PPM", True),
        ("a.pgm", b"P5 4 2 65535\n" + bytes(16), "16-bit gray PPM", True),
        ("a.tif", Image.new("RGB", (4, 2)), "8-bit RGB TIFF", False),
        ("a.tif", RGB16, "16-bit RGB TIFF", True),
        ("a.tif", RGB16[..., 0], "16-bit gray TIFF", True),
        ("a.tif", RGB16[..., 0].astype(np.int8), "8-bit signed gray TIFF", True),
        ("a.tif", RGB16[..., 0].astype(np.int32), "32-bit signed gray TIFF", True),
        ("a.tif", RGB16[..., 0].astype(np.float32), "32-bit float gray TIFF", True),
        ("a.tif", RGB16.astype(np.float64), "64-bit float RGB TIFF", True),
        ("a.tif", np.zeros((2, 4, 5), np.uint8), "8-bit RGB TIFF with 5 channels", False),
    ],
)
def test_kinds(tmp_path: Path, name: str, content: object, kind: str, needs_range: bool) -> None:
    write(tmp_path / name, content)
    header = read_header(str(tmp_path / name))
    assert (header.width, header.height, header.orientation) == (4, 2, 1)
    assert (str(header.pixels), header.pixels.needs_range) == (kind, needs_range)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
def test_sizes_are_upright(tmp_path: Path, name: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.new("RGB", (4, 2)).save(tmp_path / name, exif=exif)
    header = read_header(str(tmp_path / name))
    assert (header.orientation, header.stored_size) == (orientation, (4, 2))
    assert (header.width, header.height) == ((2, 4) if orientation >= 5 else (4, 2))


def test_pixels_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (4, 2)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "load", None)
    assert read_header(str(tmp_path / "a.png")).width == 4


def test_orientation_after_the_pixels_of_a_png(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.new("RGB", (4, 2)).save(tmp_path / "a.png")
    data, body = (
        (tmp_path / "a.png").read_bytes(),
        b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0"),
    )
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / "a.png").write_bytes(data[:-12] + chunk + data[-12:])
    header = read_header(str(tmp_path / "a.png"))
    assert (header.width, header.height, header.orientation) == (2, 4, 6)
    assert read_image(str(tmp_path / "a.png")).shape == (4, 2, 3)


def test_only_regular_files_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a FIFO would wait for ever."""
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "empty.png").touch()
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as found:
        found.bind("socket.png")
    kinds = {
        "fifo.png": "it is a FIFO",
        "folder.png": "it is a directory",
        "socket.png": "it is a socket",
    }
    kinds |= {"/dev/null": "it is a device", "empty.png": r"empty \(0 bytes\)"}
    for name, words in kinds.items():
        for read in (read_header, read_image):
            with pytest.raises(DatasetError, match=f"image {name} cannot be read: .*{words}"):
                read(name)


def test_more_pixels_than_pillow_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    path = str(tmp_path / "a.png")
    with pytest.raises(
        DatasetError,
        match=r"a\.png has 40x30 = 1200 pixels, "
        r"MODEL\.RETINA_PLUGIN\.INPUT\.MAX_PIXELS allows 1199",
    ):
        read_image(path, max_pixels=1199)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # an error from 200 on
    assert read_header(path).width == 40
    assert read_image(path, max_pixels=1200).shape == (30, 40, 3)
    assert Image.MAX_IMAGE_PIXELS == 100
