"""Random slices and crops of training images: their size, their objects, and their places."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from retina_plugin.config import ConfigError, check_rules, get_cfg
from retina_plugin.data.transforms import RandomCrop, RandomSlice, Sample, TransformChain


def sample_of(height: int, width: int, boxes: list[list[float]]) -> Sample:
    """Each pixel has its own row and column as value."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows, columns, 0 * rows], axis=2).astype(np.uint8)
    array = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return {"image": image, "boxes": array, "labels": np.arange(len(array))}


def slices(sample: Sample, count: int, **changes: Any) -> list[Sample]:
    options = {"size": 50, "with_object": 0.0, "full_image": 0.0, **changes}
    rng = np.random.default_rng(0)
    return [RandomSlice(**options)(sample, rng, None) for _ in range(count)]


def corner(found: Sample) -> tuple[int, int]:
    """The row and column of the first pixel in the image."""
    return int(found["image"][0, 0, 0]), int(found["image"][0, 0, 1])


def test_places_and_boxes() -> None:
    """All places occur at the borders and between; boxes move with the slice."""
    sample = sample_of(60, 200, [[95, 30, 105, 40]])
    found = slices(sample, 300)
    tops, lefts = zip(*map(corner, found), strict=True)
    assert (min(tops), max(tops)) == (0, 10)
    assert min(lefts) < 10
    assert max(lefts) > 140
    for part, (top, left) in zip(found, zip(tops, lefts, strict=True), strict=True):
        assert part["image"].shape == (50, 50, 3)
        visible = min(105 - left, 50) - max(95 - left, 0)
        rows = min(40 - top, 50) - (30 - top)
        assert len(part["boxes"]) == (visible * rows >= 70)
        if len(part["boxes"]):
            x0, x1 = max(95 - left, 0), min(105 - left, 50)
            assert part["boxes"].tolist() == [[x0, 30 - top, x1, min(40 - top, 50)]]


@pytest.mark.parametrize(
    ("inside", "kept"), [(7, 1), (6, 0)], ids=["0.7 is inside", "0.6 is inside"]
)
def test_share_of_an_object(inside: int, kept: int) -> None:
    """The slices start at column 0."""
    boxes = [[50 - inside, 0, 60 - inside, 10]]
    sample = sample_of(50, 80, boxes)
    at_start = [part for part in slices(sample, 400) if corner(part) == (0, 0)]
    assert at_start
    for part in at_start:
        assert part["boxes"].tolist() == [[50 - inside, 0, 50, 10]] * kept
        assert part["labels"].tolist() == [0] * kept


@pytest.mark.parametrize(
    "box",
    [
        pytest.param([120, 90, 130, 100], id="small"),
        pytest.param([0, 0, 4, 4], id="in the corner"),
        pytest.param([100, 20, 180, 110], id="larger than a slice"),
    ],
)
def test_slices_around_an_object(box: list[float]) -> None:
    """The object is inside; or the slice is inside the object."""
    small = box[2] - box[0] <= 50
    for part in slices(sample_of(150, 200, [box]), 50, with_object=1.0):
        top, left = corner(part)
        if small:
            assert left <= box[0]
            assert top <= box[1]
            assert left + 50 >= box[2]
            assert top + 50 >= box[3]
            assert len(part["boxes"]) == 1
        else:
            assert box[0] <= left <= box[2] - 50
            assert box[1] <= top <= box[3] - 50
            assert len(part["boxes"]) == 0


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0.1), (0.5, 0.55), (1.0, 1.0)])
def test_share_of_crops_with_an_object(share: float, expected: float) -> None:
    """RandomCrop finds one small object in a tenth of the places, and else by WITH_OBJECT."""
    rng = np.random.default_rng(0)
    crop = RandomCrop(enabled=True, kind="absolute", size=(50, 50), with_object=share)
    sample = sample_of(50, 450, [[225, 20, 235, 30]])  # inside from 185 to 225 of 0 to 400
    inside = [
        left >= 0 and right <= 50
        for left, _, right, _ in (crop(sample, rng, None)["boxes"][0] for _ in range(500))
    ]
    assert sum(inside) / 500 == pytest.approx(expected, abs=0.06)


def test_crops_of_images_without_objects() -> None:
    crop = RandomCrop(enabled=True, kind="absolute", size=(50, 50), with_object=1.0)
    part = crop(sample_of(60, 90, []), np.random.default_rng(0), None)
    assert part["image"].shape == (50, 50, 3)


def test_without_objects_slices_are_anywhere() -> None:
    assert len({corner(part) for part in slices(sample_of(60, 90, []), 30, with_object=1.0)}) > 5


def test_whole_images() -> None:
    """A share of the samples, and images that are not larger than a slice."""
    large = sample_of(60, 90, [[0, 0, 9, 9]])
    whole = [part is large for part in slices(large, 400, full_image=0.25)]
    assert 60 < sum(whole) < 140
    small = sample_of(50, 40, [[0, 0, 9, 9]])
    assert all(part is small for part in slices(small, 10))
    assert slices(sample_of(30, 90, []), 1)[0]["image"].shape == (30, 50, 3)


def test_by_config() -> None:
    cfg = get_cfg()
    cfg.MODEL.RETINA_PLUGIN.INPUT.TRANSFORMS = ["RandomSlice"]
    with pytest.raises(ValueError, match=r"RandomSlice needs .*SLICE.SIZE above 0, found 0"):
        TransformChain.from_config(cfg)
    cfg.MODEL.RETINA_PLUGIN.TEST.SLICE.SIZE = 32
    ((name, transform),) = TransformChain.from_config(cfg).transforms
    assert (name, transform.size, transform.with_object, transform.full_image) == (
        "RandomSlice", 32, 0.5, 0.2,
    )  # fmt: skip


@pytest.mark.parametrize("before", ["ResizeShortestEdge", "ScaleJitter"])
def test_slices_after_resizing_are_refused(before: str) -> None:
    """They would have another size than in evaluation."""
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "FocalRetinaNet"
    cfg.MODEL.RETINA_PLUGIN.INPUT.TRANSFORMS = [before, "RandomSlice"]
    with pytest.raises(ConfigError, match=r"INPUT.TRANSFORMS: expected RandomSlice before Resize"):
        check_rules(cfg)
    cfg.MODEL.RETINA_PLUGIN.INPUT.TRANSFORMS = ["RandomSlice", before]
    check_rules(cfg)
