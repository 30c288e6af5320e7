"""Channels, bits and numbers of images, from their headers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retina_plugin.data.pixel_kinds import describe_kinds, pixel_kinds

RGB = Image.new("RGB", (8, 6))


def deep(dtype: str) -> Image.Image:
    return Image.fromarray(np.zeros((6, 8), dtype=dtype))


@pytest.mark.parametrize(
    ("image", "name", "text", "channels", "needs_range"),
    [
        (RGB, "a.png", "8-bit RGB images", 3, False),
        (RGB, "a.jpg", "8-bit RGB images", 3, False),
        (RGB.convert("L"), "a.jpg", "8-bit gray images", 1, False),
        (RGB.convert("LA"), "a.png", "8-bit gray images with 2 channels", 2, False),
        (RGB.convert("RGBA"), "a.png", "8-bit RGB images with 4 channels", 4, False),
        (RGB.convert("P"), "a.gif", "8-bit palette images", 1, False),
        (deep("uint16"), "a.png", "16-bit gray images", 1, True),
        (deep("uint16"), "a.tif", "16-bit gray images", 1, True),
        (deep("float32"), "a.tif", "32-bit float gray images", 1, True),
    ],
)
def test_one_kind(
    tmp_path: Path, image: Image.Image, name: str, text: str, channels: int, needs_range: bool
) -> None:
    image.save(tmp_path / name)
    (kind,) = pixel_kinds([{"file_name": str(tmp_path / name)}])
    assert (str(kind), kind.channels, kind.needs_range) == (text, channels, needs_range)


def test_several_kinds(tmp_path: Path) -> None:
    for number, image in enumerate((RGB.convert("L"), RGB, RGB)):
        image.save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_text("not an image")
    kinds = pixel_kinds([{"file_name": str(tmp_path / f"{i}.png")} for i in (0, 1, 2, 2, 3)])
    assert describe_kinds(kinds) == "2 8-bit RGB images, 1 8-bit gray images"
    assert describe_kinds(pixel_kinds([])) == ""
