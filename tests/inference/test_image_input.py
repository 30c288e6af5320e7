"""Images as users give them: equal pixels for equal images, and a message for each mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from retina_plugin.data import DatasetError, read_image
from retina_plugin.inference.image_input import to_rgb

RGB = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
GRAY = RGB[:, :, :1]
ALPHA = np.full((4, 5, 1), 7, np.uint8)
DEEP = np.arange(20, dtype=np.uint16).reshape(4, 5) * 3000


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (RGB, RGB),
        (RGB[::-1], RGB[::-1]),
        (np.concatenate([RGB, ALPHA], axis=2), RGB),
        (GRAY, GRAY.repeat(3, 2)),
        (GRAY[:, :, 0], GRAY.repeat(3, 2)),
        (torch.from_numpy(RGB).permute(2, 0, 1), RGB),
        (torch.from_numpy(GRAY[:, :, 0]), GRAY.repeat(3, 2)),
        (Image.fromarray(RGB), RGB),
        (Image.fromarray(GRAY[:, :, 0]), GRAY.repeat(3, 2)),
        (Image.fromarray(np.concatenate([RGB, ALPHA], axis=2)), RGB),
        (RGB[:3, :4], RGB[:3, :4]),  # its height is 3, but its channels are last
    ],
)
def test_equal_images_in_all_forms(source: Any, expected: np.ndarray) -> None:
    found = to_rgb(source, pixel_range=None)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (RGB.transpose(2, 0, 1), "channels are first, give array.transpose(1, 2, 0)"),
        (torch.from_numpy(RGB.repeat(2, 0)), "channels are last, give tensor.permute(2, 0, 1)"),
        (RGB / 255, "multiply by 255, round, and convert with .astype(np.uint8)"),
        (torch.rand(3, 4, 5), "multiply by 255, round, and convert with .to(torch.uint8)"),
        (RGB.astype(np.float32), "values from 0 to 59: round, and convert"),
        (RGB.astype(np.int64), "array of int64 with values from 0 to 59"),
        (RGB / 100 - 1, "give the pixels before they are normalised"),
        (RGB * np.nan, "NaN or infinite"),
        (RGB > 3, "array of bool: give the pixels of an image"),
        (DEEP, "more than 8 bits"),
        (Image.fromarray(DEEP), "more than 8 bits"),
        (Image.new("RGB", (0, 5)), "found an empty PIL image of (0, 5) pixels"),
        (RGB[None], "found a batch"),
        (np.zeros((0, 5, 3), np.uint8), "found an empty array of shape (0, 5, 3)"),
        (np.zeros((4, 5, 7), np.uint8), "found an array of shape (4, 5, 7)"),
        (np.zeros(5, np.uint8), "expected an image (H, W, 3)"),
        (np.array(["a"]), "expected an image"),
        (3.5, "found float"),
        (None, "found NoneType"),
        (b"bytes", "found bytes"),
    ],
)
def test_mistakes_are_described(source: Any, words: str) -> None:
    with pytest.raises(ValueError, match="expected") as error:
        to_rgb(source, pixel_range=None)
    assert words in str(error.value)


def test_more_than_8_bits_are_scaled_as_in_files(tmp_path: Path) -> None:
    Image.fromarray(DEEP).save(tmp_path / "deep.png")
    expected = read_image(str(tmp_path / "deep.png"), pixel_range=(0, 60000))
    for source in (
        DEEP,
        Image.open(tmp_path / "deep.png"),
        torch.from_numpy(DEEP.astype(np.int32)),
    ):
        np.testing.assert_array_equal(to_rgb(source, pixel_range=(0, 60000)), expected)


def test_values_that_are_not_finite_are_refused_with_a_range_too() -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        to_rgb(np.full((4, 5, 3), np.nan), pixel_range=(0, 60000))


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-2.1, 2.6), (0, 230)])
def test_values_of_another_range_are_refused(low: float, high: float) -> None:
    """They would become a black image: in 0..1, normalised, or of 8 bits."""
    words = rf"0 to 60000, found an array of float64 with .* {low:g} to {high:g}, which would all"
    with pytest.raises(ValueError, match=words):
        to_rgb(np.linspace(low, high, 60).reshape(4, 5, 3), pixel_range=(0, 60000))
    assert to_rgb(np.full((4, 5, 3), 0.5), pixel_range=(0, 1)).max() > 100


def test_values_that_pillow_changes_are_refused(tmp_path: Path) -> None:
    """Colours of 16 bits, and gray TIFF files of 16 bits in which 0 is white."""
    cv2 = pytest.importorskip("cv2")
    cv2.imwrite(str(tmp_path / "deep.png"), np.repeat(DEEP[:, :, None], 3, axis=2))
    Image.fromarray(DEEP).save(tmp_path / "white.tif", tiffinfo={262: 0})
    for name in ("deep.png", "white.tif"):
        assert read_image(str(tmp_path / name), pixel_range=(0, 60000)).std() > 1
        with Image.open(tmp_path / name) as image, pytest.raises(ValueError, match="give its path"):
            to_rgb(image, pixel_range=(0, 60000))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_pil_image_has_the_pixels_of_its_file(
    tmp_path: Path, orientation: int, suffix: str
) -> None:
    path, exif = tmp_path / f"a{suffix}", Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(path, exif=exif)
    with Image.open(path) as image:
        np.testing.assert_array_equal(to_rgb(image, pixel_range=None), read_image(str(path)))


def test_a_broken_file_opened_with_pil(tmp_path: Path) -> None:
    Image.fromarray(RGB.repeat(50, 0)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:80])
    with pytest.raises(DatasetError, match=r"a\.png cannot be read"):
        to_rgb(Image.open(tmp_path / "a.png"), pixel_range=None)
