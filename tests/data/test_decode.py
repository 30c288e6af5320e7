"""Fast decoding and resizing: pixels equal to Pillow's, or nearly, and damaged files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retina_plugin.data import DatasetError, decode, read_image
from retina_plugin.data.transforms.resize import resize_image

NUMBERS = np.random.default_rng(0)
SMOOTH = np.asarray(
    Image.fromarray(NUMBERS.integers(0, 256, (7, 9, 3), dtype=np.uint8)).resize((83, 61))
)
KINDS: dict[str, dict[str, Any]] = {
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "4:2:0": {"subsampling": 2},
    "low quality": {"quality": 10},
    "progressive": {"progressive": True},
    "RGB": {"keep_rgb": True},
}


def jpeg(image: np.ndarray = SMOOTH, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", **options)
    return file.getvalue()


def by_pillow(raw: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(raw)).convert("RGB"))


@pytest.fixture
def fast() -> None:
    pytest.importorskip("simplejpeg")
    if not decode.has_fast_decoder():
        pytest.skip("Pillow decodes with another library than libjpeg-turbo")


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_pixels_are_those_of_pillow(fast: None, options: dict[str, Any]) -> None:
    raw = jpeg(**options)
    found = decode.decode_jpeg(raw)
    assert found is not None
    assert (found == by_pillow(raw)).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (17, 3), (16, 33)], ids=str)
def test_small_files(fast: None, shape: tuple[int, int]) -> None:
    for subsampling in range(3):
        raw = jpeg(SMOOTH[: shape[0], : shape[1]], subsampling=subsampling)
        assert (decode.decode_jpeg(raw) == by_pillow(raw)).all()


def test_gray_files(fast: None) -> None:
    raw = jpeg(SMOOTH[..., 0])
    assert (decode.decode_jpeg(raw) == by_pillow(raw)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_rotated_files(fast: None, tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "a.jpg").write_bytes(jpeg(exif=exif))
    found = read_image(str(tmp_path / "a.jpg"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("retina_plugin.data.images.decode_jpeg", lambda raw: None)
        expected = read_image(str(tmp_path / "a.jpg"))
    assert found.shape == ((61, 83, 3) if orientation < 5 else (83, 61, 3))
    assert (found == expected).all()


def test_cmyk_files_are_left_to_pillow(tmp_path: Path) -> None:
    Image.fromarray(SMOOTH).convert("CMYK").save(tmp_path / "a.jpg")
    expected = np.asarray(Image.open(tmp_path / "a.jpg").convert("RGB"))
    assert (read_image(str(tmp_path / "a.jpg")) == expected).all()


def test_damaged_files_are_named(tmp_path: Path) -> None:
    """Files that were cut off are refused as before, and never decoded in part."""
    raw = jpeg()
    assert decode.decode_jpeg(raw[: len(raw) // 2]) is None
    assert decode.decode_jpeg(b"\xff\xd8 no image") is None
    (tmp_path / "cut.jpg").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(DatasetError, match=r"cut\.jpg cannot be read: .*truncated"):
        read_image(str(tmp_path / "cut.jpg"))


# ---------------------------------------------------------------------------------------- resizing


@pytest.mark.parametrize(
    ("shape", "share", "largest"), [((200, 272), 0.01, 1), ((61, 40), 0.02, 1), ((20, 27), 0.2, 2)]
)
def test_pixels_of_the_other_resizer(shape: tuple[int, int], share: float, largest: int) -> None:
    expected = resize_image(SMOOTH, shape).astype(int)
    difference = np.abs(resize_image(SMOOTH, shape, resizer="torch") - expected)
    assert difference.max() <= largest
    assert (difference > 0).mean() < share


@pytest.mark.parametrize(
    "image",
    [SMOOTH, SMOOTH[:, ::-1], SMOOTH[3:20, 5:30], np.rot90(SMOOTH)],
    ids=["whole", "flipped", "cropped", "turned"],
)
def test_views_can_be_resized(image: np.ndarray) -> None:
    found = resize_image(image, (30, 31), resizer="torch")
    assert found.shape == (30, 31, 3)
    assert np.abs(found - resize_image(image.copy(), (30, 31)).astype(int)).max() <= 2
    assert resize_image(image[..., :0], (30, 31), resizer="torch").shape == (30, 31, 0)
    assert resize_image(image, image.shape[:2], resizer="torch") is image
