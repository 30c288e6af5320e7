"""Transforms that change pixels or turn the image: colours, blur, JPEG, erasing, quarter turns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from retina_plugin.config import get_cfg
from retina_plugin.data import TRANSFORMS, Sample
from retina_plugin.data.samples import to_tensor
from retina_plugin.data.transforms import RandomErasing, RandomQuarterTurn
from retina_plugin.data.transforms.blur import blur
from retina_plugin.data.transforms.erasing import erase
from retina_plugin.data.transforms.jpeg import compress
from retina_plugin.data.transforms.photometric import change_colours, colour_matrix, mean_of
from retina_plugin.data.transforms.resize import resize_image
from retina_plugin.data.transforms.turn import turn
from retina_plugin.data.transforms.visible import clip_visible, mean_colour

NOISE = np.random.default_rng(0).integers(60, 190, (48, 64, 3), dtype=np.uint8)
UNCHANGED = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
NODE = "MODEL.RETINA_PLUGIN.INPUT"


def sample_of(boxes: Any, image: np.ndarray = NOISE) -> Sample:
    boxes = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return {"image": image, "boxes": boxes, "labels": np.arange(len(boxes))}


def built(name: str, **keys: Any) -> Any:
    """A transform with the defaults of its keys, except for ``keys``."""
    cfg = get_cfg()
    for key, value in keys.items():
        cfg.merge_from_list([f"{NODE}.{name}.{key}", value])
    return TRANSFORMS.construct(name, cfg)


def no_draw(rng: np.random.Generator) -> Sample:
    raise AssertionError("none of these draws another sample")


# ----------------------------------------------------------------------------------------- colours


def changed(image: np.ndarray, **changes: float) -> np.ndarray:
    matrix = colour_matrix(image.mean(axis=(0, 1)), **{**UNCHANGED, **changes})
    return change_colours(image, matrix).astype(int)


@pytest.mark.parametrize(
    ("change", "value", "before", "after"),
    [
        ("brightness", 1.5, [100, 40, 20], [150, 60, 30]),
        ("brightness", 3.0, [100, 40, 20], [255, 120, 60]),  # clipped
        # brightness 0.299 * 100 + 0.587 * 40 + 0.114 * 20 = 55.66: halfway to it
        ("saturation", 0.5, [100, 40, 20], [78, 48, 38]),
        ("saturation", 0.0, [100, 40, 20], [56, 56, 56]),
        ("hue", 0.05, [70, 70, 70], [70, 70, 70]),  # gray has no hue
        ("contrast", 0.5, [70, 70, 70], [70, 70, 70]),  # the mean stays
    ],
)
def test_colours(change: str, value: float, before: list[int], after: list[int]) -> None:
    image = np.full((2, 3, 3), before, dtype=np.uint8)
    assert changed(image, **{change: value})[0, 0].tolist() == after


@pytest.mark.parametrize(
    ("change", "value"), [("brightness", 1.2), ("contrast", 1.3), ("saturation", 0.6)]
)
def test_torchvision_changes_the_colours_alike(change: str, value: float) -> None:
    """torchvision rounds down, this project rounds to the nearest value."""
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    pixels = torch.from_numpy(NOISE).permute(2, 0, 1)
    theirs = getattr(functional, f"adjust_{change}")(pixels, value).permute(1, 2, 0).numpy()
    assert np.abs(changed(NOISE, **{change: value}) - theirs).max() <= 1


def test_hue_keeps_the_brightness_and_turns_red_towards_green() -> None:
    red = np.full((2, 2, 3), [150, 60, 60], dtype=np.uint8)
    found = changed(red, hue=0.1)[0, 0]
    assert found[1] > found[2]
    weights = np.array([0.299, 0.587, 0.114])
    assert abs(weights @ found - weights @ red[0, 0]) < 1
    assert np.abs(changed(red, hue=0.5)[0, 0] - (2 * weights @ red[0, 0] - red[0, 0])).max() <= 1


def test_no_change_of_colours_is_the_identity() -> None:
    assert (changed(NOISE) == NOISE).all()
    none = built("RandomPhotometricDistort", PROBABILITY=0.0)
    assert none(sample_of([]), np.random.default_rng(0), no_draw)["image"] is NOISE
    assert_close(mean_of(np.full((5, 7, 3), [1, 2, 3], np.uint8)), np.array([1.0, 2.0, 3.0]))


# ------------------------------------------------------------------------------------ blur and JPEG


def test_blur() -> None:
    flat = np.full((9, 12, 3), [10, 100, 200], dtype=np.uint8)
    assert (blur(flat, sigma=2.0) == flat).all()
    dot = np.zeros((9, 9, 3), dtype=np.uint8)
    dot[4, 4] = 250
    found = blur(dot, sigma=1.0)[..., 0]
    assert found[4, 4] == 40  # 250 / (2 pi)
    assert (found == found.T).all()
    assert (found == found[::-1]).all()
    assert blur(NOISE[:1, :2], sigma=2.0).shape == (1, 2, 3)  # smaller than the kernel


def test_jpeg() -> None:
    flat = np.full((16, 16, 3), 128, dtype=np.uint8)
    assert (compress(flat, quality=30) == flat).all()
    smooth = np.broadcast_to(np.arange(0, 128, 2, dtype=np.uint8)[None, :, None], (32, 64, 3))
    errors = [np.abs(compress(smooth, quality=q).astype(int) - smooth).mean() for q in (5, 95)]
    assert errors[1] < 1 < errors[0]


def test_turned_images_of_one_pixel() -> None:
    """NumPy calls them contiguous, although torch cannot read their negative strides."""
    for quarters in range(4):
        pixel = turn(sample_of([], NOISE[:1, :1]), quarters=quarters)["image"]
        assert (blur(pixel, sigma=1.0) == pixel).all()
        assert to_tensor(pixel, "RGB").flatten().tolist() == NOISE[0, 0].tolist()
        column = turn(sample_of([], NOISE[:, :1]), quarters=quarters)["image"]
        assert resize_image(column, (5, 7), resizer="torch").shape == (5, 7, 3)


# ---------------------------------------------------------------------------------------- erasing


def test_erasing() -> None:
    """0, 32 % and 80 % of the three boxes are covered; 30 % must stay visible."""
    boxes = [[40, 30, 50, 40], [0, 0, 10, 10], [4, 0, 14, 8]]
    found = erase(sample_of(boxes), (0, 6, 8, 20), min_visible=0.3, fill=(1, 2, 3))
    assert found["boxes"].tolist() == [boxes[0], boxes[1]]
    assert found["labels"].tolist() == [0, 1]
    erased = (found["image"] == [1, 2, 3]).all(axis=2)
    assert erased[:8, 6:26].all()
    assert erased.sum() == 8 * 20
    assert (found["image"][8:] == NOISE[8:]).all()


def test_shares_of_erased_areas() -> None:
    """The shares are in the range of the key. Later random numbers do not depend on whether an
    image is erased."""
    erasing = built("RandomErasing", PROBABILITY=1.0, SCALE=[0.1, 0.3])
    assert isinstance(erasing, RandomErasing)
    for seed in range(60):
        found = erasing(sample_of([]), np.random.default_rng(seed), no_draw)
        share = (found["image"] != NOISE).any(axis=2).mean()
        assert 0.08 < share < 0.32
    rngs = np.random.default_rng(3), np.random.default_rng(3)
    for probability, rng in zip((0.0, 1.0), rngs, strict=True):
        built("RandomErasing", PROBABILITY=probability)(sample_of([]), rng, no_draw)
    assert rngs[0].random() == rngs[1].random()


def test_colour_of_erased_areas() -> None:
    cfg = get_cfg()
    cfg.MODEL.PIXEL_MEAN = [103.4, 116.28, 123.675]  # BGR
    assert mean_colour(cfg) == (124, 116, 103)
    cfg.INPUT.FORMAT = "RGB"
    assert mean_colour(cfg) == (103, 116, 124)


# ------------------------------------------------------------------------------------------- turns


def test_turns() -> None:
    """A box in an image of 4 x 6 pixels: after a quarter turn, its right side is its top."""
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    sample = sample_of([[1, 0, 3, 2]], image)
    boxes = [turn(sample, quarters=k)["boxes"][0].tolist() for k in range(4)]
    assert boxes == [[1, 0, 3, 2], [0, 3, 2, 5], [3, 2, 5, 4], [2, 1, 4, 3]]
    shapes = [turn(sample, quarters=k)["image"].shape for k in range(4)]
    assert shapes == [(4, 6, 3), (6, 4, 3), (4, 6, 3), (6, 4, 3)]
    back = turn(turn(sample, quarters=1), quarters=3)
    assert (back["image"] == image).all()
    assert (back["boxes"] == sample["boxes"]).all()
    assert turn(sample_of([]), quarters=1)["boxes"].shape == (0, 4)


@pytest.mark.parametrize("quarters", range(4))
def test_the_corners_of_a_box_follow_its_pixels(quarters: int) -> None:
    image = np.zeros((30, 40, 3), dtype=np.uint8)
    image[5:17, 8:31] = 255
    found = turn(sample_of([[8, 5, 31, 17]], image), quarters=quarters)
    rows, columns = np.nonzero(found["image"][..., 0])
    expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert found["boxes"][0].tolist() == expected


def test_all_four_turns_are_equally_frequent() -> None:
    image = np.arange(4, dtype=np.uint8).reshape(2, 2, 1).repeat(3, axis=2)
    turned = RandomQuarterTurn()
    corners = [
        turned(sample_of([], image), np.random.default_rng(seed), no_draw)["image"][0, 0, 0]
        for seed in range(400)
    ]
    assert all(70 < count < 130 for count in np.bincount(corners, minlength=4))


# ------------------------------------------------------------------------------------- visible part


def test_boxes_with_too_little_area_inside_are_dropped() -> None:
    """100 %, 40 %, 30 %, 20 % and 0 % of the 10 x 10 boxes are inside the image of 48 x 64."""
    boxes = [[0, 0, 10, 10], [-6, 0, 4, 10], [61, 0, 71, 10], [0, 46, 10, 56], [70, 50, 80, 60]]
    found = clip_visible(sample_of(boxes), min_visible=0.3)
    assert found["boxes"].tolist() == [[0, 0, 10, 10], [0, 0, 4, 10], [61, 0, 64, 10]]
    assert found["labels"].tolist() == [0, 1, 2]
    assert clip_visible(sample_of(boxes), min_visible=0.0)["labels"].tolist() == [0, 1, 2, 3]
    flat = clip_visible(sample_of([[3, 3, 3, 9]]), min_visible=0.0)
    assert flat["boxes"].shape == (0, 4)


NAMES = [
    "RandomPhotometricDistort",
    "GaussianBlur",
    "JPEG",
    "RandomErasing",
    "RandomQuarterTurn",
]


@pytest.mark.parametrize("name", NAMES)
def test_samples_without_pixels(name: str) -> None:
    """Boxes are those with pixels; the input is not changed, and images stay uint8."""
    keys = {} if name == "RandomQuarterTurn" else {"PROBABILITY": 0.3}
    transform, boxes, before = built(name, **keys), [[2, 3, 30, 20], [0, 0, 64, 48]], NOISE.copy()
    assert not transform.needs_pixels
    differs = []
    for seed in range(12):
        found = transform(sample_of(boxes), np.random.default_rng(seed), no_draw)
        empty = sample_of(boxes, NOISE[..., :0])
        without = transform(empty, np.random.default_rng(seed), no_draw)
        assert without["image"].shape == (*found["image"].shape[:2], 0)
        assert without["boxes"].tolist() == found["boxes"].tolist()
        assert without["labels"].tolist() == found["labels"].tolist()
        assert found["image"].dtype == np.uint8
        differs.append(not np.array_equal(found["image"], NOISE))
    assert any(differs)
    assert not all(differs)
    assert (before == NOISE).all()
