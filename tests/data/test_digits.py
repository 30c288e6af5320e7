"""The digits data set: tight boxes, reproducible from a seed, and never written in part."""

from __future__ import annotations

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retina_plugin.data import (
    DatasetError,
    class_counts,
    digits,
    load_dataset,
    read_coco,
    read_image,
)
from retina_plugin.data.digits import make_digits, make_scene, render_digit, split_digits

pytestmark = pytest.mark.slow


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits") / "made"
    make_digits(folder, num_train=20, num_test=8, size=160, seed=3)
    return folder


def test_train_and_test_share_no_digit() -> None:
    train, test = split_digits("train"), split_digits("test")
    assert len(train[0]) + len(test[0]) == 1797
    assert not {image.tobytes() for image in train[0]} & {image.tobytes() for image in test[0]}
    for images, labels in (train, test):
        assert images.shape == (len(labels), 8, 8)
        assert (images.min(), images.max()) == (0, 1)
    share = np.bincount(test[1]) / (np.bincount(test[1]) + np.bincount(train[1]))
    assert np.all((share > 0.19) & (share <= 0.2))


def test_the_same_seed_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    make_digits(tmp_path / "again", num_train=20, num_test=8, size=160, seed=3)
    make_digits(tmp_path / "fewer", num_train=5, num_test=8, size=160, seed=3)
    make_digits(tmp_path / "other", num_train=20, num_test=8, size=160, seed=4)
    first, fewer, other = content(made), content(tmp_path / "fewer"), content(tmp_path / "other")
    assert content(tmp_path / "again") == first
    assert {name: fewer[name] for name in fewer if name != "train.json"} == {
        name: first[name] for name in fewer if name != "train.json"
    }
    assert set(other) == set(first)
    assert not [name for name in first if other[name] == first[name]]
    assert len(set(first.values())) == len(first)  # no scene twice, none shared by train and test


@pytest.mark.parametrize(("split", "count"), [("train", 20), ("test", 8)])
def test_coco_layout(made: Path, split: str, count: int) -> None:
    dataset = read_coco(str(made / f"{split}.json"), str(made / split))
    assert dataset.class_names == tuple("0123456789")
    assert dataset.category_ids == tuple(range(1, 11))
    assert dataset.warnings == ()
    assert len(dataset.records) == count == len(os.listdir(made / split))
    for record in dataset.records:
        assert read_image(record["file_name"]).shape == (160, 160, 3)
        assert len(record["annotations"]) <= 6
    for annotation in json.loads((made / f"{split}.json").read_text())["annotations"]:
        x, y, width, height = annotation["bbox"]
        assert all(isinstance(value, int) for value in annotation["bbox"])
        assert annotation["area"] == width * height
        assert 0 <= x < x + width <= 160
        assert 0 <= y < y + height <= 160
        assert height <= digits.HEIGHTS[1]


def test_class_frequencies_fall_geometrically_in_training_only(tmp_path: Path) -> None:
    """With a ratio of 512 : 1, each class is drawn twice as often as the next, and all classes
    together 1023 / 512 times as often as the first."""
    make_digits(tmp_path / "tail", num_train=300, num_test=60, size=160, seed=0, imbalance=512)
    make_digits(tmp_path / "even", num_train=1, num_test=60, size=160, seed=0)
    counts = class_counts(
        read_coco(str(tmp_path / "tail/train.json"), str(tmp_path / "tail/train")).records, 10
    )
    expected = sum(counts) * np.array([512 / 1023 / 2**label for label in range(10)])
    assert np.all(np.abs(counts - expected) <= 4 * np.sqrt(expected))  # four standard deviations
    tail, even = content(tmp_path / "tail"), content(tmp_path / "even")
    assert {name for name in even if tail[name] != even[name]} == {"train.json", "train/00000.jpg"}


def test_a_rendered_digit_is_cut_tight() -> None:
    images, _ = split_digits("train")
    rng = np.random.default_rng(0)
    heights = []
    for index in rng.integers(0, len(images), 60):
        ink = render_digit(images[index], rng)
        heights.append(ink.shape[0])
        assert 0 <= ink.min() <= 0.01
        assert ink.max() > 0.9
        for border in (ink[0], ink[-1], ink[:, 0], ink[:, -1]):
            assert border.max() > 0.1
    assert min(heights) >= digits.HEIGHTS[0]
    assert max(heights) <= digits.HEIGHTS[1]
    assert max(heights) > 2 * min(heights)


def test_boxes_enclose_the_drawn_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """With solid blocks instead of digits on plain gray, exactly the pixels inside the boxes differ
    from gray."""
    monkeypatch.setattr(
        digits, "render_digit", lambda digit, rng: np.ones((int(rng.integers(18, 50)), 20))
    )
    monkeypatch.setattr(digits, "_background", lambda size, rng: np.full((size, size, 3), 128.0))
    monkeypatch.setattr(digits, "MAX_OVERLAP", 0.0)
    for seed in range(10):
        scene, objects = make_scene("train", size=120, rng=np.random.default_rng(seed))
        covered = np.zeros((120, 120), dtype=bool)
        for _, (x0, y0, x1, y1) in objects:
            covered[y0:y1, x0:x1] = True
        assert np.array_equal(np.abs(scene.mean(axis=2) - 128) > 25, covered)


def test_some_boxes_overlap_slightly() -> None:
    shares = []
    for seed in range(60):
        _, objects = make_scene("train", size=160, rng=np.random.default_rng(seed))
        boxes = [box for _, box in objects]
        shares += [digits._overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i]]
    assert 0 < max(shares) <= digits.MAX_OVERLAP


@pytest.mark.parametrize(
    ("a", "b", "share"),
    [
        ((0, 0, 4, 4), (4, 0, 8, 4), 0),
        ((0, 0, 4, 4), (2, 2, 6, 6), 4 / 16),
        ((0, 0, 10, 10), (4, 4, 6, 6), 1),
        ((0, 0, 4, 2), (3, 0, 5, 2), 2 / 4),
    ],
)
def test_shared_area_over_the_smaller_box(a: tuple, b: tuple, share: float) -> None:
    assert digits._overlap(a, b) == digits._overlap(b, a) == share


def test_a_scene_without_room_has_no_digits() -> None:
    scene, objects = make_scene("train", size=16, rng=np.random.default_rng(0))
    assert (scene.shape, objects) == ((16, 16, 3), [])


def test_digits_can_be_read_and_have_the_right_labels() -> None:
    """A nearest neighbour among rendered training digits finds the label; with wrong labels it
    would be right in one of ten cases."""
    rng = np.random.default_rng(0)

    def rendered(split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
        images, labels = split_digits(split)
        chosen = rng.integers(0, len(images), count)
        ink = [
            Image.fromarray((render_digit(images[i], rng) * 255).astype(np.uint8)).resize((12, 16))
            for i in chosen
        ]
        return np.stack([np.asarray(i, dtype=np.float64).ravel() for i in ink]), labels[chosen]

    known, labels = rendered("train", 800)
    asked, expected = rendered("test", 200)
    distances = (asked**2).sum(1)[:, None] - 2 * asked @ known.T + (known**2).sum(1)
    assert (labels[distances.argmin(1)] == expected).mean() > 0.85


# ------------------------------------------------------------------------------ whole or not at all


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_nothing_is_left_of_an_interrupted_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    scenes = iter(range(4))

    def interrupted(split: str, *, size: int, **others: object) -> tuple:
        if next(scenes, None) is None:
            raise error
        return np.zeros((size, size, 3), dtype=np.uint8), []

    monkeypatch.setattr(digits, "make_scene", interrupted)
    with pytest.raises(error):
        make_digits(tmp_path / "cache" / "made", num_train=3, num_test=3, size=20, seed=0)
    assert os.listdir(tmp_path / "cache") == []


def test_two_processes_may_make_the_data_set_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_are_at_work = threading.Barrier(2, timeout=30)
    whole = digits._make_split

    def slow(folder: Path, split: str, *args: object, **kwargs: object) -> None:
        both_are_at_work.wait()
        whole(folder, split, *args, **kwargs)

    monkeypatch.setattr(digits, "_make_split", slow)
    sizes = {"num_train": 3, "num_test": 2, "size": 160, "seed": 1}
    with ThreadPoolExecutor(2) as pool:
        for run in [pool.submit(make_digits, tmp_path / "made", **sizes) for _ in range(2)]:
            run.result()
    monkeypatch.undo()
    make_digits(tmp_path / "alone", **sizes)
    assert content(tmp_path / "made") == content(tmp_path / "alone")
    assert sorted(os.listdir(tmp_path)) == ["alone", "made"]


def test_the_default_scenes_are_made_once_below_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETINA_PLUGIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digits, "NUM_TRAIN", 4)
    monkeypatch.setattr(digits, "NUM_TEST", 2)
    train, test = load_dataset("digits_train"), load_dataset("digits_test")
    assert (len(train.records), len(test.records)) == (4, 2)
    assert train.json_file.startswith(str(tmp_path / "cache"))
    before = content(tmp_path)
    monkeypatch.setattr(digits, "make_digits", None)  # a call would fail
    assert digits.digits_dataset("train") == (train.json_file, train.image_root)
    assert content(tmp_path) == before
    monkeypatch.undo()
    monkeypatch.setenv("RETINA_PLUGIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digits, "NUM_TRAIN", 4)
    monkeypatch.setattr(digits, "NUM_TEST", 2)
    tail = load_dataset("digits_longtail_train")
    assert (len(tail.records), content(tmp_path).items() >= before.items()) == (4, True)
    (tmp_path / "usual").mkdir()  # permissions are those of any new folder
    assert os.stat(os.path.dirname(train.image_root)).st_mode == os.stat(tmp_path / "usual").st_mode


def test_a_read_only_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RETINA_PLUGIN_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        DatasetError,
        match=r"digit scenes cannot be written to .*file/digits.* "
        r"RETINA_PLUGIN_CACHE",
    ):
        digits.digits_dataset("train")
