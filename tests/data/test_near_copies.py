"""Near-copies: which changes of an image are found, and which images are different."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retina_plugin.data.near_copies import near_copies, near_copies_between
from retina_plugin.data.thumbnails import read_thumbnail

SIZE = (320, 240)


def photograph(seed: int) -> Image.Image:
    """Smooth areas with finer structure on them, and noise, in 30..225."""
    rng = np.random.default_rng(seed)
    layers = [
        np.asarray(Image.fromarray(rng.random((n, n)).astype(np.float32)).resize(SIZE)) * weight
        for n, weight in ((5, 120), (20, 60), (160, 15))
    ]
    return Image.fromarray((30 + sum(layers)).astype(np.uint8)).convert("RGB")


def grey(image: Image.Image, path: Path, **save: Any) -> np.ndarray | None:
    image.save(path, **save)
    return read_thumbnail(str(path)).grey


CHANGES: dict[str, tuple[Callable[[Image.Image], Image.Image], dict[str, Any]]] = {
    "quality 50": (lambda im: im, {"quality": 50}),
    "half size": (lambda im: im.resize((160, 120)), {"quality": 90}),
    "double size": (lambda im: im.resize((640, 480)), {"quality": 90}),
    "stretched": (lambda im: im.resize((340, 240)), {"quality": 90}),
    "square": (lambda im: im.resize((416, 416)), {"quality": 90}),
    "brighter": (lambda im: im.point(lambda v: min(255, int(v * 1.15))), {"quality": 90}),
    "partly white": (lambda im: im.point(lambda v: min(255, int(v * 1.4))), {"quality": 90}),
    "darker": (lambda im: im.point(lambda v: int(v * 0.7)), {"quality": 90}),
    "gray": (lambda im: im.convert("L"), {"quality": 90}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changed_images_are_found_and_no_others(tmp_path: Path, name: str) -> None:
    change, save = CHANGES[name]
    images = [photograph(seed) for seed in range(12)]
    originals = [grey(image, tmp_path / "a.jpg", quality=95) for image in images]
    changed = [grey(change(image), tmp_path / "b.jpg", **save) for image in images]
    assert near_copies(originals) == []
    assert near_copies_between(originals, changed) == [(i, i) for i in range(12)]


def test_an_object_that_moves_in_front_of_a_fixed_camera(tmp_path: Path) -> None:
    greys = []
    for left in (40, 60, 200):
        image = photograph(0)
        image.paste((240, 240, 240), (left, 100, left + 24, 124))  # 1% of the image
        greys.append(grey(image, tmp_path / "a.png"))
    assert near_copies([*greys, greys[0]]) == [(0, 3)]


def test_an_object_that_moves_in_a_brighter_photograph(tmp_path: Path) -> None:
    """The areas that are white in both photographs are not compared, all others are."""
    image, moved = photograph(0), photograph(0)
    image.paste((20, 20, 20), (40, 100, 64, 124))
    moved.paste((20, 20, 20), (200, 100, 224, 124))
    first = grey(image, tmp_path / "a.png")
    change = CHANGES["partly white"][0]
    brighter = [grey(change(im), tmp_path / "b.png") for im in (image, moved)]
    assert near_copies_between([first], brighter) == [(0, 0)]


def test_images_without_content(tmp_path: Path) -> None:
    flat = grey(Image.new("RGB", SIZE, (9, 9, 9)), tmp_path / "a.png")
    one = grey(photograph(0), tmp_path / "b.png")
    assert flat is None
    assert near_copies([None, one, flat, one]) == [(1, 3)]
    assert near_copies([]) == near_copies_between([one], []) == []


def test_pairs_of_many_images_are_exact() -> None:
    """More images than are compared at once; the copies are far apart."""
    rng = np.random.default_rng(0)
    greys: list[np.ndarray | None] = [
        rng.integers(0, 256, (32, 32), dtype=np.uint8) for _ in range(2500)
    ]
    greys += greys[:3]
    started = time.process_time()
    assert near_copies(greys) == [(0, 2500), (1, 2501), (2, 2502)]
    assert time.process_time() - started < 5
