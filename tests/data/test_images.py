"""Reading images as arrays: every mode, every orientation, and messages for broken files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retina_plugin.data import DatasetError, read_image, read_record
from retina_plugin.data.images import ORIENTATION, image_size

PALETTE = Image.new("P", (2, 1))
PALETTE.putpalette([10, 20, 30, 200, 100, 50])
PALETTE.putpixel((1, 0), 1)


def gray(mode: type, *values: int) -> Image.Image:
    return Image.fromarray(np.array([values], dtype=mode))


@pytest.mark.parametrize(
    ("image", "name", "expected"),
    [
        pytest.param(Image.new("RGB", (2, 1), (10, 20, 30)), "a.png", [[10, 20, 30]] * 2, id="RGB"),
        pytest.param(gray(np.uint8, 0, 200), "a.png", [[0] * 3, [200] * 3], id="8 bits of gray"),
        pytest.param(gray(bool, False, True), "a.png", [[0] * 3, [255] * 3], id="1 bit"),
        pytest.param(
            gray(np.uint16, 0, 200, 256, 65535),
            "a.png",
            [[0] * 3, [0] * 3, [1] * 3, [255] * 3],
            id="16 bits",
        ),
        pytest.param(gray(np.uint16, 511, 25700), "a.tif", [[1] * 3, [100] * 3], id="16 bits TIFF"),
        pytest.param(
            gray(np.int32, -5, 25700, 1 << 20),
            "a.tif",
            [[0] * 3, [100] * 3, [255] * 3],
            id="32 bits",
        ),
        pytest.param(PALETTE, "a.png", [[10, 20, 30], [200, 100, 50]], id="palette"),
        pytest.param(PALETTE, "a.gif", [[10, 20, 30], [200, 100, 50]], id="GIF"),
        pytest.param(
            Image.new("RGBA", (1, 1), (10, 20, 30, 0)), "a.png", [[10, 20, 30]], id="transparent"
        ),
        pytest.param(
            Image.new("LA", (1, 1), (70, 9)), "a.png", [[70, 70, 70]], id="gray with alpha"
        ),
        pytest.param(
            Image.new("CMYK", (1, 1), (255, 0, 0, 0)), "a.tif", [[0, 255, 255]], id="CMYK"
        ),
    ],
)
def test_modes(tmp_path: Path, image: Image.Image, name: str, expected: list) -> None:
    image.save(tmp_path / name)
    found = read_image(str(tmp_path / name), pixel_range=(0, 65535))  # ignored for 8-bit images
    assert (found.dtype, found.shape) == (np.uint8, (1, image.width, 3))
    assert found.tolist() == [expected]


# EXIF orientation (specification, 4.6.4 A) -> function from the stored to the upright array.
TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_orientations(tmp_path: Path, name: str, orientation: int) -> None:
    stored = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(stored).save(tmp_path / name, exif=exif, lossless=True)
    found = read_image(str(tmp_path / name))
    assert np.array_equal(found, TURNS[orientation](stored))
    assert image_size(str(tmp_path / name)) == found.shape[1::-1]


BROKEN = {
    "cut off": b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x12\0\x03",
    "wrong start": b"Exif\0\0MM\x01*\0\0\0\x08",
    "nonsense": b"Exif\0\0nonsense",
    "nothing": b"Exif\0\0",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("exif", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_an_image_with_broken_exif_is_read(tmp_path: Path, name: str, exif: bytes) -> None:
    Image.new("RGB", (4, 2), (200, 0, 0)).save(tmp_path / name, exif=exif)
    assert read_image(str(tmp_path / name)).shape == (2, 4, 3)
    assert image_size(str(tmp_path / name)) == (4, 2)


@pytest.mark.filterwarnings("ignore")
def test_rotated_with_exif_that_cannot_be_written_again(tmp_path: Path) -> None:
    """The orientation is valid, but the camera name has an unknown type; Pillow's own
    ``exif_transpose`` may fail on such files."""
    camera, orientation = b"\x01\x0f\0\0\0\0\0\x07\0\0\0&", b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0"
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x02" + camera + orientation + b"\0\0\0\0camera\0"
    Image.new("RGB", (4, 2)).save(tmp_path / "a.png", exif=exif)
    assert read_image(str(tmp_path / "a.png")).shape == (4, 2, 3)
    assert image_size(str(tmp_path / "a.png")) == (2, 4)


@pytest.mark.parametrize(
    "name", ["missing.png", "empty.png", "text.png", "short.png", "short.jpg", "folder"]
)
def test_unreadable_files_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("<html>not found</html>")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    for path in (tmp_path / "short.png", tmp_path / "short.jpg"):
        noise.save(path)
        path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(
        DatasetError, match=f"image .*{name} cannot be read: .+ Repair it, or leave it out"
    ) as error:
        read_image(str(tmp_path / name))
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tif", "webp"])
def test_damaged_files_are_read_or_named(tmp_path: Path, suffix: str) -> None:
    """Pillow's decoders raise many kinds of errors; all become one kind."""
    rng = np.random.default_rng(0)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(path)
    whole = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    messages = []
    for _ in range(60):
        damaged = whole.copy()
        damaged[rng.integers(0, min(len(whole), 120), 4)] = rng.integers(0, 256, 4)
        path.write_bytes(damaged.tobytes())
        try:
            assert read_image(str(path)).shape[2] == 3
        except DatasetError as error:
            messages.append(str(error))
    assert messages
    assert all(message.startswith(f"image {path} ") for message in messages)


def test_records(tmp_path: Path) -> None:
    path = str(tmp_path / "a.png")
    Image.new("RGB", (4, 2)).save(path)
    assert read_record({"file_name": path, "height": 2, "width": 4}).shape == (2, 4, 3)
    assert read_record({"file_name": path}).shape == (2, 4, 3)
    with pytest.raises(
        DatasetError,
        match=r"a\.png is 4x2 pixels, its annotations say 2x4. Correct width and "
        r"height",
    ):
        read_record({"file_name": path, "height": 4, "width": 2})
