"""Pixel ranges of images with more than 8 bits, and the range that ``auto`` measures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retina_plugin.config import get_cfg
from retina_plugin.config.checks import check_rules
from retina_plugin.config.errors import ConfigError
from retina_plugin.data import DatasetError, image_options, read_header, read_image
from retina_plugin.data.check_images import check_images
from retina_plugin.data.images import stored_values
from retina_plugin.data.pixel_range import measure_pixel_range
from tests.deep_images import write_png16, write_tiff

KEY = "MODEL.RETINA_PLUGIN.INPUT.PIXEL_RANGE"
RAMP = np.arange(12).reshape(3, 4)
TYPES = ["uint16", "int16", "uint32", "int32", "float32", "float64"]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", TYPES)
def test_low_becomes_0_and_high_255(tmp_path: Path, dtype: str, channels: int) -> None:
    values = (RAMP * 100 + 50).astype(dtype)
    write_tiff(tmp_path / "a.tif", values if channels == 1 else np.stack([values] * 3, axis=2))
    found = read_image(str(tmp_path / "a.tif"), pixel_range=(150, 1050))
    # floor(256 (v - 150) / 900), clipped
    expected = [[0, 0, 28, 56], [85, 113, 142, 170], [199, 227, 255, 255]]
    assert (found.dtype, found.shape) == (np.uint8, (3, 4, 3))
    assert found.transpose(2, 0, 1).tolist() == [expected] * 3


def test_the_full_16_bit_range_keeps_the_upper_8_bits(tmp_path: Path) -> None:
    """This was the behaviour before PIXEL_RANGE existed."""
    values = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    write_png16(tmp_path / "a.png", values)
    found = read_image(str(tmp_path / "a.png"), pixel_range=(0, 65535))
    assert np.array_equal(found[..., 0], values >> 8)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.ppm"])
def test_colours_keep_all_their_bits_and_their_order(tmp_path: Path, name: str) -> None:
    """Pillow would silently reduce them to 8 bits."""
    values = np.stack([RAMP, RAMP + 1000, RAMP + 4000], axis=2).astype(np.uint16)
    if name == "a.png":
        write_png16(tmp_path / name, values)
    elif name == "a.tif":
        write_tiff(tmp_path / name, values)
    else:
        (tmp_path / name).write_bytes(b"P6 4 3 4095\n" + values.astype(">u2").tobytes())
    assert np.array_equal(stored_values(str(tmp_path / name)), values)


def test_0_is_white_where_the_file_says_so(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif", RAMP.astype(np.uint16), photometric=0)
    found = read_image(str(tmp_path / "a.tif"), pixel_range=(0, 11))
    assert (found[0, 0, 0], found[2, 3, 0]) == (255, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("channels", [1, 3])
def test_deep_images_are_rotated_by_exif(tmp_path: Path, orientation: int, channels: int) -> None:
    values = RAMP if channels == 1 else np.stack([RAMP] * 3, axis=2)
    write_tiff(tmp_path / "deep.tif", values.astype(np.uint16), orientation=orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RAMP.astype(np.uint8)).save(tmp_path / "a.png", exif=exif)
    found = stored_values(str(tmp_path / "deep.tif"))
    assert np.array_equal(
        found if channels == 1 else found[..., 0], read_image(str(tmp_path / "a.png"))[..., 0]
    )
    header = read_header(str(tmp_path / "deep.tif"))
    assert (header.height, header.width) == found.shape[:2]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(tmp_path: Path, bad: float) -> None:
    values = RAMP.astype(np.float32)
    values[1, 2] = bad
    write_tiff(tmp_path / "a.tif", values)
    with pytest.raises(DatasetError, match=r"a\.tif has 1 of 12 values that are NaN or infinite"):
        read_image(str(tmp_path / "a.tif"), pixel_range=(0, 1))


@pytest.mark.parametrize(
    ("values", "photometric", "words"),
    [
        (np.zeros((3, 4, 5), np.uint8), 2, "8-bit RGB TIFF with 5 channels: expected gray or RGB"),
        (
            np.zeros((3, 4, 5), np.uint16),
            2,
            "16-bit RGB TIFF with 5 channels: expected gray or RGB",
        ),
        (
            np.zeros((3, 4, 4), np.uint16),
            5,
            "16-bit CMYK TIFF with 4 channels: expected gray or RGB",
        ),
        (np.zeros((3, 4), np.complex64), 1, "64-bit complex gray TIFF: expected gray or RGB"),
    ],
)
def test_unsupported_channels(
    tmp_path: Path, values: np.ndarray, photometric: int, words: str
) -> None:
    write_tiff(tmp_path / "a.tif", values, photometric=photometric)
    with pytest.raises(DatasetError, match=rf"a\.tif is a {words}"):
        read_image(str(tmp_path / "a.tif"), pixel_range=(0, 1))
    with pytest.raises(
        DatasetError,
        match=r"1 of 1 images cannot be used: image .*a\.tif is a "
        rf"{words}",
    ):
        check_images([{"file_name": str(tmp_path / "a.tif")}], max_pixels=100)


@pytest.mark.parametrize("dtype", TYPES)
def test_without_a_range_they_are_refused(tmp_path: Path, dtype: str) -> None:
    write_tiff(tmp_path / "a.tif", RAMP.astype(dtype))
    bits = np.dtype(dtype).itemsize * 8
    with pytest.raises(
        DatasetError,
        match=rf"a\.tif is a {bits}-bit .*gray TIFF: .*{KEY} to "
        r"\[low, high\]",
    ):
        read_image(str(tmp_path / "a.tif"))


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
@pytest.mark.parametrize(
    "pixel_range",
    [
        (5, 1),
        (0, 0),
        (np.nan, 1),
        (0, np.inf),
        (-1e308, 1e308),
        "auto",
        "05",
        [0, 1, 2],
        (0,),
        5,
        (None, 1),
        (False, True),
        (0, 10**400),
    ],
    ids=lambda value: f"{value!s:.15}",
)
def test_an_invalid_range_is_an_error_of_the_caller(
    tmp_path: Path, name: str, pixel_range: Any
) -> None:
    """The message does not blame the image, with 16 or with 8 bits."""
    write_tiff(tmp_path / "a.tif", RAMP.astype(np.uint16))
    Image.fromarray(RAMP.astype(np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"^pixel_range: expected \(low, high\)") as error:
        read_image(str(tmp_path / name), pixel_range=pixel_range)
    assert not isinstance(error.value, DatasetError)


def test_other_spellings_of_a_range(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif", RAMP.astype(np.float32))
    expected = read_image(str(tmp_path / "a.tif"), pixel_range=(0, 11))
    for pixel_range in ([0, 11], np.array([0, 11]), np.array([0, 11], np.float32), (0, 11.0)):
        found = read_image(str(tmp_path / "a.tif"), pixel_range=pixel_range)
        assert np.array_equal(found, expected)


def test_other_mistakes_of_a_caller_do_not_blame_the_image(tmp_path: Path) -> None:
    Image.fromarray(RAMP.astype(np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(TypeError):
        read_image(str(tmp_path / "a.png"), max_pixels="many")


def test_8_bit_images_ignore_a_range(tmp_path: Path) -> None:
    Image.fromarray(RAMP.astype(np.uint8)).save(tmp_path / "a.png")
    assert np.array_equal(read_image(str(tmp_path / "a.png"), pixel_range=(0, 5))[..., 0], RAMP)


# --------------------------------------------------------------------------------------------- auto


def headers(folder: Path, *images: np.ndarray) -> list:
    paths = [folder / f"{number}.tif" for number in range(len(images))]
    for path, values in zip(paths, images, strict=True):
        write_tiff(path, values)
    return [read_header(str(path)) for path in paths]


def test_percentiles(tmp_path: Path) -> None:
    values = np.arange(1000, dtype=np.uint16).reshape(20, 50)
    Image.new("L", (4, 2), 255).save(tmp_path / "shallow.png")
    found, line = measure_pixel_range(
        [*headers(tmp_path, values, values), read_header(str(tmp_path / "shallow.png"))],
        max_pixels=10**6,
    )
    expected = np.percentile(np.concatenate([values, values]), [0.1, 99.9])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert "0.1 and 99.9 percentiles of 2 of 2 training images" in line
    assert "warning" not in line


def test_a_sample_is_bounded_and_the_same_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retina_plugin.data import pixel_range

    monkeypatch.setattr(pixel_range, "MAX_IMAGES", 3)
    monkeypatch.setattr(pixel_range, "MAX_VALUES", 20)
    rng, decoded = np.random.default_rng(0), []
    files = headers(tmp_path, *rng.normal(0, 1, (8, 10, 10)).astype(np.float32))
    monkeypatch.setattr(
        pixel_range, "stored_values", lambda p, **k: (decoded.append(p), stored_values(p, **k))[1]
    )
    first = measure_pixel_range(files, max_pixels=10**6)
    assert measure_pixel_range(files[::-1], max_pixels=10**6) == first
    assert len(decoded) == 6
    assert "3 of 8 training images" in first[1]


def test_nearly_empty_images_take_the_least_and_largest_value(tmp_path: Path) -> None:
    values = np.zeros((50, 50), np.float32)
    values[7, 7] = 3
    assert measure_pixel_range(headers(tmp_path, values), max_pixels=10**6)[0] == (0, 3)


def test_one_value_everywhere_gives_no_range(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=rf"{KEY} is auto, .*0\.tif are all 7\. Set it to"):
        measure_pixel_range(headers(tmp_path, np.full((3, 4), 7, np.int32)), max_pixels=10**6)


def test_images_that_lose_their_contrast_are_reported(tmp_path: Path) -> None:
    """One range cannot suit values in 0..1 and in 0..4095."""
    share = np.linspace(0, 1, 400).reshape(20, 20)
    files = headers(tmp_path, share.astype(np.float32), (share * 4095).astype(np.uint16))
    line = measure_pixel_range(files, max_pixels=10**6)[1]
    assert "warning: 1 of these 2 images keep fewer than 8 gray levels in this range, first" in line
    assert "0.tif" in line


# ------------------------------------------------------------------------------------------- config


@pytest.mark.parametrize(
    ("value", "expected"),
    [("auto", None), ("[0, 4095]", (0.0, 4095.0)), ("(-1000, 400.5)", (-1000.0, 400.5))],
)
def test_values_of_the_key(value: str, expected: Any) -> None:
    cfg = get_cfg()
    cfg.merge_from_list([KEY, value])
    check_rules(cfg)
    assert image_options(cfg) == {"pixel_range": expected, "max_pixels": 178_956_970}


@pytest.mark.parametrize(
    "value", ["[1, 1]", "[2, 1]", "[0]", "[0, 1, 2]", "5", "automatic", "[0, 'a']", "[True, 5]"]
)
def test_other_values_are_refused(value: str) -> None:
    with pytest.raises(ConfigError, match=rf"{KEY}: expected \[low, high\], .* or auto, found"):
        get_cfg().merge_from_list([KEY, value])


# ------------------------------------------------------------------------------------------ headers


def test_headers_of_all_images_are_compared(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(6)]
    for name in names:
        Image.new("RGB", (4, 2)).save(tmp_path / name)
    records = [{"file_name": str(tmp_path / name), "width": 4, "height": 2} for name in names]
    assert [header.width for header in check_images(records, max_pixels=8)] == [4] * 6
    assert check_images([], max_pixels=8) == []
    (tmp_path / "0.png").write_text("<html>")
    (tmp_path / "1.png").write_bytes(b"")
    for number in (2, 5):
        Image.new("RGB", (3, 2)).save(tmp_path / f"{number}.png")
    with pytest.raises(DatasetError) as error:
        check_images(records, max_pixels=8)
    message = str(error.value)
    assert message.startswith("4 of 6 images cannot be used: image")
    assert all(
        name in message
        for name in ("0.png", "1.png", "2.png is 3x2 pixels, its annotations say 4x2")
    )
    assert "And 1 more." in message
