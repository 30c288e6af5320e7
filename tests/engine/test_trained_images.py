"""A run says that it evaluates images that it is trained on."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from retina_plugin.data.trained_images import trained_images
from retina_plugin.engine.trained_images import trained_images_note
from tests.models import compact_cfg

SETS = {
    "train": ["a.png", "b.png"],
    "more": ["c.png"],
    "val": ["b.png", "d.png"],
    "test": ["e.png"],
}


def records(name: str) -> list[dict[str, str]]:
    return [{"file_name": f"images/{file}"} for file in SETS[name]]


@pytest.mark.parametrize(
    ("train", "validation", "test", "expected"),
    [
        (("train",), (), ("test",), []),
        (("train", "more"), (), ("val", "test"), ["val: 1 of 2 images are also training images"]),
        (("train",), ("val",), (), ["val: 1 of 2"]),
        (("train",), ("train",), ("val",), ["train: 2 of 2", "val: 1 of 2"]),
        (("train",), (), (), []),
    ],
)
def test_the_line_of_each_set(
    train: tuple[str, ...], validation: tuple[str, ...], test: tuple[str, ...], expected: list[str]
) -> None:
    cfg = compact_cfg(DATASETS__TRAIN=train, DATASETS__TEST=test)
    cfg.MODEL.RETINA_PLUGIN.DATASETS.VALIDATION = validation
    found = trained_images_note(cfg, records).splitlines()
    assert [line.startswith(start) for line, start in zip(found, expected, strict=True)] == [
        True
    ] * len(expected)


def test_a_link_to_the_folder_is_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    os.symlink(tmp_path / "images", tmp_path / "link")
    one, other = ([{"file_name": str(tmp_path / d / "a.png")}] for d in ("images", "link"))
    np.testing.assert_array_equal(trained_images(one, other), [True])
    assert trained_images([], other).shape == (0,)
