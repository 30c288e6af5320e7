"""Transforms of an image and its boxes: windows, sizes and mirrors that can be counted by hand."""

import numpy as np
import pytest

from retina_plugin.config import get_cfg
from retina_plugin.data.transforms import augment, augment_boxes, crop, flip, resize

IMAGE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)  # every pixel differs
BOXES = np.array([[1.0, 0.0, 3.0, 2.0], [4.0, 3.0, 6.0, 4.0]])
NONE = np.zeros((0, 4))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_flip() -> None:
    image, boxes = flip(IMAGE, BOXES, direction="horizontal")
    assert (image[2, 0] == IMAGE[2, 5]).all()
    assert boxes.tolist() == [[3, 0, 5, 2], [0, 3, 2, 4]]
    image, boxes = flip(IMAGE, BOXES, direction="vertical")
    assert (image[0, 2] == IMAGE[3, 2]).all()
    assert boxes.tolist() == [[1, 2, 3, 4], [4, 0, 6, 1]]


@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
def test_flipped_twice_is_as_before(direction: str) -> None:
    image, boxes = flip(*flip(IMAGE, BOXES, direction=direction), direction=direction)
    assert (image == IMAGE).all()
    assert (boxes == BOXES).all()
    assert flip(IMAGE, NONE, direction=direction)[1].shape == (0, 4)


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
    """Any window of an allowed shape; the box moves with its pixels and is cut where they are."""
    seen = set()
    for seed in range(300):
        image, boxes = crop(IMAGE, BOXES, kind=kind, size=size, rng=rng(seed))
        seen.add(image.shape[:2])
        top, left = np.argwhere((image[0, 0] == IMAGE).all(axis=2))[0]
        assert (image == IMAGE[top : top + image.shape[0], left : left + image.shape[1]]).all()
        for (x0, y0, x1, y1), box in zip(BOXES, boxes, strict=True):
            width, height = image.shape[1], image.shape[0]
            expected = [
                np.clip(v, 0, end)
                for v, end in (
                    (x0 - left, width),
                    (y0 - top, height),
                    (x1 - left, width),
                    (y1 - top, height),
                )
            ]
            assert box.tolist() == expected
    assert seen == shapes


def test_resize() -> None:
    image, boxes = resize(IMAGE, BOXES, min_size=8, max_size=100)
    assert image.shape == (8, 12, 3)
    assert (boxes == 2 * BOXES).all()
    image, boxes = resize(IMAGE, BOXES, min_size=8, max_size=9)  # the longer side decides
    assert image.shape == (6, 9, 3)
    assert (boxes == 1.5 * BOXES).all()
    image, boxes = resize(IMAGE, NONE, min_size=0, max_size=1)  # 0 keeps the size
    assert (image == IMAGE).all()
    assert boxes.shape == (0, 4)


def test_boxes_are_cut_at_the_border() -> None:
    assert resize(IMAGE, np.array([[-1.0, -1, 7, 5]]), min_size=4, max_size=6)[1].tolist() == [
        [0, 0, 6, 4]
    ]


def inputs(**changes: object) -> object:
    cfg = get_cfg()
    values = {"MIN_SIZE_TRAIN": (4,), "RANDOM_FLIP": "none", **changes}
    cfg.merge_from_list(
        [
            part
            for key, value in values.items()
            for part in (f"INPUT.{key.replace('__', '.')}", value)
        ]
    )
    return cfg.INPUT


def test_nothing_asked_for_nothing_done() -> None:
    image, boxes = augment(IMAGE, BOXES, inputs=inputs(), rng=rng())
    assert (image == IMAGE).all()
    assert (boxes == BOXES).all()


def test_half_of_the_images_are_flipped() -> None:
    flipped = [
        (
            augment(IMAGE, BOXES, inputs=inputs(RANDOM_FLIP="vertical"), rng=rng(seed))[0] != IMAGE
        ).any()
        for seed in range(400)
    ]
    assert 0.4 < np.mean(flipped) < 0.6


def test_sizes() -> None:
    choice = inputs(MIN_SIZE_TRAIN=(4, 8))
    assert {
        augment(IMAGE, BOXES, inputs=choice, rng=rng(seed))[0].shape[0] for seed in range(50)
    } == {4, 8}
    between = inputs(MIN_SIZE_TRAIN=(4, 7), MIN_SIZE_TRAIN_SAMPLING="range")
    assert {
        augment(IMAGE, BOXES, inputs=between, rng=rng(seed))[0].shape[0] for seed in range(50)
    } == {4, 5, 6, 7}


def test_the_crop_comes_first() -> None:
    cropped = inputs(
        MIN_SIZE_TRAIN=(8,), CROP__ENABLED=True, CROP__TYPE="absolute", CROP__SIZE=[2, 2]
    )
    assert augment(IMAGE, BOXES, inputs=cropped, rng=rng())[0].shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"RANDOM_FLIP": "both"},
            "INPUT.RANDOM_FLIP must be horizontal, vertical or none, found 'both'",
        ),
        (
            {"CROP__ENABLED": True, "CROP__TYPE": "square"},
            "INPUT.CROP.TYPE must be .*, found 'square'",
        ),
        (
            {"MIN_SIZE_TRAIN_SAMPLING": "any"},
            "MIN_SIZE_TRAIN_SAMPLING must be choice, or range .* found 'any'",
        ),
        (
            {"MIN_SIZE_TRAIN_SAMPLING": "range"},
            r"range with two MIN_SIZE_TRAIN, found 'range' with "
            r"\(4,\)",
        ),
    ],
)
def test_unknown_values(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        augment(IMAGE, BOXES, inputs=inputs(**changes), rng=rng())


@pytest.mark.parametrize("kind", ["relative", "relative_range", "absolute", "absolute_range", None])
@pytest.mark.parametrize("direction", ["none", "horizontal", "vertical"])
def test_boxes_without_pixels(kind: str | None, direction: str) -> None:
    """They are those that come with the pixels, for the same random numbers."""
    size = [0.5, 0.7] if "relative" in (kind or "") else [2, 4]
    asked = inputs(
        MIN_SIZE_TRAIN=(5, 9),
        MAX_SIZE_TRAIN=11,
        RANDOM_FLIP=direction,
        CROP__ENABLED=kind is not None,
        CROP__TYPE=kind or "relative",
        CROP__SIZE=size,
    )
    for seed in range(30):
        image, boxes = augment(IMAGE, BOXES, inputs=asked, rng=rng(seed))
        shape, without = augment_boxes(IMAGE.shape[:2], BOXES, inputs=asked, rng=rng(seed))
        assert shape == image.shape[:2]
        assert (without == boxes).all()
