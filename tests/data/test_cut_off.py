"""Files that were cut off are found before a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retina_plugin.data.check_images import check_images
from retina_plugin.data.errors import DatasetError
from retina_plugin.data.headers import MAX_PIXELS

KINDS = {"a.jpg": np.uint8, "a.png": np.uint8, "deep.png": np.uint16}


def image_file(folder: Path, name: str) -> Path:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 255, (60, 80)).astype(KINDS[name])
    Image.fromarray(values).save(folder / name)
    return folder / name


def check(path: Path) -> None:
    check_images([{"file_name": str(path)}], max_pixels=MAX_PIXELS, show=False)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_cut_off(tmp_path: Path, name: str, share: float) -> None:
    path = image_file(tmp_path, name)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DatasetError, match=rf"1 of 1 images cannot be used: .*{name}.*--fix DIR"):
        check(path)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("extra", [0, 1, 1000, 5000])
def test_complete_files_with_bytes_after_their_end(tmp_path: Path, name: str, extra: int) -> None:
    path = image_file(tmp_path, name)
    path.write_bytes(path.read_bytes() + bytes(extra))
    check(path)


def test_complete_files_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("retina_plugin.data.cut_off.read_image", decode)
    monkeypatch.setattr("retina_plugin.data.cut_off.stored_values", decode)
    for name in KINDS:
        check(image_file(tmp_path, name))
