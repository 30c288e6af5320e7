"""Crops, resizing and flips of an image and its boxes, with results that can be counted by hand."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest

from retina_plugin.config import CfgNode, ConfigError, check_rules, get_cfg
from retina_plugin.data import DatasetError, Sample
from retina_plugin.data.transforms import RandomCrop, TransformChain
from retina_plugin.data.transforms.crop import KINDS, draw_window
from retina_plugin.data.transforms.flip import flip
from retina_plugin.data.transforms.resize import resize, resize_image

IMAGE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)  # all pixels differ
BOXES = np.array([[1.0, 0.0, 3.0, 2.0], [4.0, 3.0, 6.0, 4.0]])
NONE = np.zeros((0, 4))
KEY = "MODEL.RETINA_PLUGIN.INPUT.TRANSFORMS"


def sample_of(boxes: np.ndarray = BOXES, image: np.ndarray = IMAGE) -> Sample:
    return {"image": image, "boxes": boxes, "labels": np.arange(len(boxes))}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def no_draw(rng: np.random.Generator) -> Sample:
    raise AssertionError("nothing built in draws another sample")


# ----------------------------------------------------------------------------------------- built in


def test_flip() -> None:
    found = flip(sample_of(), direction="horizontal")
    assert (found["image"][2, 0] == IMAGE[2, 5]).all()
    assert found["boxes"].tolist() == [[3, 0, 5, 2], [0, 3, 2, 4]]
    found = flip(sample_of(), direction="vertical")
    assert (found["image"][0, 2] == IMAGE[3, 2]).all()
    assert found["boxes"].tolist() == [[1, 2, 3, 4], [4, 0, 6, 1]]


@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
def test_flipping_twice_is_the_identity(direction: str) -> None:
    found = flip(flip(sample_of(), direction=direction), direction=direction)
    assert (found["image"] == IMAGE).all()
    assert (found["boxes"] == BOXES).all()
    assert flip(sample_of(NONE), direction=direction)["boxes"].shape == (0, 4)


@pytest.mark.parametrize(
    ("kind", "size", "shapes"),
    [
        ("relative", [0.5, 0.5], {(2, 3)}),
        ("relative", [1.0, 1.0], {(4, 6)}),
        ("absolute", [3, 2], {(3, 2)}),
        ("absolute", [9, 9], {(4, 6)}),
        ("absolute_range", [2, 3], {(2, 2), (2, 3), (3, 2), (3, 3)}),
        ("relative_range", [0.5, 0.5], {(h, w) for h in (2, 3, 4) for w in (3, 4, 5, 6)}),
    ],
)
def test_crop(kind: str, size: list[float], shapes: set) -> None:
    """Any window of an allowed size; boxes move with their pixels."""
    seen, crop = set(), RandomCrop(enabled=True, kind=kind, size=size)
    for seed in range(300):
        found = crop(sample_of(), rng(seed), no_draw)
        image, (height, width) = found["image"], found["image"].shape[:2]
        seen.add((height, width))
        top, left = np.argwhere((image[0, 0] == IMAGE).all(axis=2))[0]
        assert (image == IMAGE[top : top + height, left : left + width]).all()
        assert (found["boxes"] == BOXES - [left, top, left, top]).all()
    assert seen == shapes


def test_resize() -> None:
    found = resize(sample_of(), (8, 9))
    assert found["image"].shape == (8, 9, 3)
    assert (found["boxes"] == BOXES * [1.5, 2, 1.5, 2]).all()
    found = resize(sample_of(NONE), (4, 6))
    assert (found["image"] == IMAGE).all()
    assert found["boxes"].shape == (0, 4)
    assert resize_image(IMAGE[..., :0], (8, 9)).shape == (8, 9, 0)


# ------------------------------------------------------------------------------------------- chains


def cfg_of(**changes: object) -> CfgNode:
    """In the names of ``changes``, which are keys of INPUT, ``__`` stands for a dot."""
    cfg = get_cfg()
    for key, value in {"MIN_SIZE_TRAIN": (4,), "RANDOM_FLIP": "none", **changes}.items():
        cfg.merge_from_list([f"INPUT.{key.replace('__', '.')}", value])
    return cfg


def applied(cfg: CfgNode, sample: Sample | None = None, seed: int = 0) -> Sample:
    chain = TransformChain.from_config(cfg)
    return chain(sample or sample_of(), rng(seed), no_draw, file_name="a.png")


def test_no_transforms() -> None:
    empty = cfg_of()
    empty.merge_from_list([KEY, []])
    for cfg in (cfg_of(), empty):
        found = applied(cfg)
        assert (found["image"] == IMAGE).all()
        assert (found["boxes"] == BOXES).all()
        assert found["labels"].tolist() == [0, 1]


def test_half_of_the_images_are_flipped() -> None:
    cfg = cfg_of(RANDOM_FLIP="vertical")
    flipped = [(applied(cfg, seed=seed)["image"] != IMAGE).any() for seed in range(400)]
    assert 0.4 < np.mean(flipped) < 0.6


def test_sizes() -> None:
    for changes, sizes in (
        ({"MIN_SIZE_TRAIN": (4, 8)}, {4, 8}),
        ({"MIN_SIZE_TRAIN": (4, 7), "MIN_SIZE_TRAIN_SAMPLING": "range"}, {4, 5, 6, 7}),
        ({"MIN_SIZE_TRAIN": (8,), "MAX_SIZE_TRAIN": 9}, {6}),  # limited by the longer side
    ):
        cfg = cfg_of(**changes)
        assert {applied(cfg, seed=seed)["image"].shape[0] for seed in range(50)} == sizes


CROP = {"CROP__ENABLED": True, "CROP__TYPE": "absolute", "CROP__SIZE": [2, 2]}


def test_the_order_is_that_of_the_list() -> None:
    cfg = cfg_of(MIN_SIZE_TRAIN=(8,), **CROP)
    assert applied(cfg)["image"].shape == (8, 8, 3)
    cfg.merge_from_list([KEY, ["ResizeShortestEdge", "RandomCrop"]])
    assert applied(cfg)["image"].shape == (2, 2, 3)


def test_boxes_are_clipped_and_dropped_with_their_labels() -> None:
    boxes = np.array([[6.0, 0, 9, 4], [-1, -1, 7, 5], [2, 2, 2, 3], [1, 1, 3, 9]])
    found = applied(cfg_of(), sample_of(boxes))
    assert found["boxes"].tolist() == [[0, 0, 6, 4], [1, 1, 3, 4]]
    assert found["labels"].tolist() == [1, 3]
    cropped = [applied(cfg_of(**CROP), seed=seed) for seed in range(40)]
    assert {len(found["labels"]) for found in cropped} == {0, 1}
    for found in cropped:
        assert ((found["boxes"][:, 2:] - found["boxes"][:, :2]) > 0).all()


@pytest.mark.parametrize("kind", [*KINDS, None])
@pytest.mark.parametrize("direction", ["none", "horizontal", "vertical"])
def test_boxes_without_pixels(kind: str | None, direction: str) -> None:
    """They equal the boxes of the same transform with pixels, for the same random numbers."""
    size = [0.5, 0.7] if "relative" in (kind or "") else [2, 4]
    sizes = {"MIN_SIZE_TRAIN": (5, 9), "MAX_SIZE_TRAIN": 11, "RANDOM_FLIP": direction}
    crop = {"CROP__ENABLED": kind is not None, "CROP__TYPE": kind or "relative", "CROP__SIZE": size}
    cfg = cfg_of(**sizes, **crop)
    assert not TransformChain.from_config(cfg).needs_pixels
    for seed in range(30):
        found = applied(cfg, seed=seed)
        without = applied(cfg, sample_of(image=IMAGE[..., :0]), seed)
        assert without["image"].shape == (*found["image"].shape[:2], 0)
        assert (without["boxes"] == found["boxes"]).all()
        assert (without["labels"] == found["labels"]).all()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("RANDOM_FLIP", "both", "INPUT.RANDOM_FLIP must be horizontal, .* found 'both'"),
        ("CROP.TYPE", "square", "INPUT.CROP.TYPE must be .*, found 'square'"),
        ("MIN_SIZE_TRAIN_SAMPLING", "any", "MIN_SIZE_TRAIN_SAMPLING must be choice, or range "),
        ("MIN_SIZE_TRAIN_SAMPLING", "range", r"with two MIN_SIZE_TRAIN, found 'range' with \(4,\)"),
    ],
)
def test_unknown_values(key: str, value: str, words: str) -> None:
    cfg = cfg_of()
    cfg.merge_from_list([f"INPUT.{key}", value])
    with pytest.raises(ValueError, match=words):
        TransformChain.from_config(cfg)


def test_unknown_names_are_refused() -> None:
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "FocalRetinaNet"
    cfg.merge_from_list([KEY, ["RandomCrop", "RandomFlap"]])
    words = rf"{KEY}: no transform is called 'RandomFlap'. Nearest: RandomFlip.* IMPORTS"
    with pytest.raises(ConfigError, match=words):
        check_rules(cfg)
    with pytest.raises(KeyError, match="no transform is called 'RandomFlap'"):
        TransformChain.from_config(cfg)
    for names in ([], ["RandomFlip"]):
        cfg.merge_from_list([KEY, names])
        check_rules(cfg)
    cfg.MODEL.META_ARCHITECTURE = "RetinaNet"  # Detectron2's own models use Detectron2's mapper
    with pytest.raises(ConfigError, match=rf"{KEY} for RetinaNet: expected .*only FocalRetinaNet"):
        check_rules(cfg)


# ------------------------------------------------------------------------------- parts from outside


GOOD = sample_of()


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (None, "expected a dict with image, boxes and labels, found NoneType"),
        ({"image": IMAGE}, "expected a dict with .*, found dict with image"),
        ({**GOOD, "labels": np.arange(3)}, "one label for each box, found 2 boxes and 3 labels"),
        ({**GOOD, "image": IMAGE / 255}, r"image \(H, W, 3\) uint8, found \(4, 6, 3\) float64"),
        ({**GOOD, "image": IMAGE[..., 0]}, r"image \(H, W, 3\) uint8, found \(4, 6\) uint8"),
        ({**GOOD, "image": IMAGE[:0]}, r"image \(H, W, 3\) uint8, found \(0, 6, 3\) uint8"),
        ({**GOOD, "boxes": BOXES.tolist()}, r"boxes \(M, 4\) float64, found list"),
        ({**GOOD, "boxes": BOXES[:, :2]}, r"boxes \(M, 4\) float64, found \(2, 2\) float64"),
        ({**GOOD, "boxes": BOXES * np.nan}, "expected finite boxes, found .*nan"),
        ({**GOOD, "labels": np.ones(2)}, r"labels \(M,\) int64, found \(2,\) float64"),
    ],
)
def test_invalid_samples_are_refused(found: Any, words: str) -> None:
    chain = TransformChain([("broken", lambda *_: found)])
    assert chain.needs_pixels
    with pytest.raises(DatasetError, match=rf"transform 'broken', image a\.png: .*{words}"):
        chain(sample_of(), rng(), no_draw, file_name="a.png")


@pytest.mark.parametrize(
    ("labels", "classes", "words"),
    [
        ([0, 99], 3, r"labels from 0 to 2, found \[0, 99\]"),
        ([-1, 2], 3, r"labels from 0 to 2, found \[-1, 2\]"),
        ([-1, 99], -1, r"labels from 0 on, found \[-1, 99\]"),
        ([0, 99], -1, None),
        ([0, 2], 3, None),
    ],
)
def test_labels_outside_the_classes_are_refused(
    labels: list[int], classes: int, words: str | None
) -> None:
    cfg = get_cfg()
    cfg.merge_from_list([KEY, [], "MODEL.RETINANET.NUM_CLASSES", classes])
    chain = TransformChain.from_config(cfg)
    chain.transforms = [("broken", lambda *_: {**GOOD, "labels": np.array(labels)})]
    wrong = words and pytest.raises(DatasetError, match=rf"'broken', image a\.png: .*{words}")
    with wrong or contextlib.nullcontext():
        found = chain(sample_of(), rng(), no_draw, file_name="a.png")
        assert found["labels"].tolist() == labels


def test_a_crop_reaches_every_edge() -> None:
    windows = {
        draw_window((2, 3), kind="absolute", size=(1, 1), rng=np.random.default_rng(seed))
        for seed in range(200)
    }
    assert windows == {(top, left, 1, 1) for top in range(2) for left in range(3)}
