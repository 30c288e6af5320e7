"""Without OpenCV, code that needs it says how to install it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from retina_plugin.data import DatasetError, read_image
from retina_plugin.data.opencv import import_opencv
from retina_plugin.inference.video import Video
from tests.deep_images import write_png16


@pytest.fixture
def without_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)


def test_the_message(without_opencv: None) -> None:
    with pytest.raises(
        ImportError, match=r"a film needs OpenCV .*opencv-python-headless.*not both"
    ):
        import_opencv("a film")


@pytest.mark.parametrize("channels", [1, 3])
def test_only_16_bit_colour_images_need_it(
    tmp_path: Path, without_opencv: None, channels: int
) -> None:
    shape = (4, 5) if channels == 1 else (4, 5, 3)
    write_png16(tmp_path / "a.png", np.full(shape, 65535, dtype=np.uint16))
    if channels == 1:
        assert read_image(str(tmp_path / "a.png"), pixel_range=(0, 65535)).min() == 255
    else:
        words = r"a\.png cannot be read: a 16-bit RGB PNG needs OpenCV"
        with pytest.raises(DatasetError, match=words):
            read_image(str(tmp_path / "a.png"), pixel_range=(0, 65535))


def test_videos_need_it_or_pyav(
    tmp_path: Path, without_opencv: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "film.mp4").touch()
    words = r"a video without PyAV \(pip install av\) needs OpenCV"
    with pytest.raises(ImportError, match=words):
        Video(str(tmp_path / "film.mp4"))
    with pytest.raises(ImportError, match="a webcam needs OpenCV"):
        Video(0)
