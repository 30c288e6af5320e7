"""Mosaic and MixUp: images that are combined with others, the last tenth of the steps without them,
and the cache of decoded images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from retina_plugin.config import CfgNode, get_cfg
from retina_plugin.data import DatasetError, Sample, load_dataset
from retina_plugin.data.image_cache import ImageCache
from retina_plugin.data.samples import TrainingDataset
from retina_plugin.data.training import check_transforms
from retina_plugin.data.transforms import MixUp, Mosaic, TransformChain
from retina_plugin.data.transforms.canvas import fit
from retina_plugin.data.transforms.mixup import mix
from retina_plugin.data.transforms.mosaic import draw_windows
from tests.scenes import write_scenes

INPUT = "MODEL.RETINA_PLUGIN.INPUT"
FILL = (9, 9, 9)
SHAPE = (40, 60)


def flat(value: int, shape: tuple[int, int] = SHAPE, *, channels: int = 3) -> Sample:
    """An image of one value with a box in each quarter; their labels are the value."""
    height, width = shape
    corners = np.array([[0, 0], [width / 2, 0], [0, height / 2], [width / 2, height / 2]])
    return {
        "image": np.full((*shape, channels), value, dtype=np.uint8),
        "boxes": np.concatenate([corners, corners + np.array([width / 2, height / 2])], axis=1),
        "labels": np.full(4, value),
    }


def drawn(*shapes: tuple[int, int], channels: int = 3) -> Any:
    """A function that returns the images 101, 102, ... of the shapes."""
    images = iter([flat(101 + k, s, channels=channels) for k, s in enumerate(shapes)])
    return lambda rng: next(images)


def mosaic_of(seed: int, *, scale: tuple[float, float] = (1.0, 1.0), channels: int = 3) -> Sample:
    mosaic = Mosaic(probability=1.0, scale=scale, until=0.9, min_visible=0.3, fill=FILL)
    draw = drawn((80, 120), (60, 40), (40, 60), channels=channels)
    return mosaic(flat(100, channels=channels), np.random.default_rng(seed), draw)


def test_windows() -> None:
    """The windows cover 40 x 60 pixels once. They meet between rows 10 and 30 and columns 15 and
    45."""
    for seed in range(30):
        windows = draw_windows(SHAPE, np.random.default_rng(seed))
        covered = np.zeros(SHAPE, dtype=int)
        for top, left, height, width in windows:
            covered[top : top + height, left : left + width] += 1
        assert (covered == 1).all()
        row, column = windows[3][:2]
        assert 10 <= row <= 30
        assert 15 <= column <= 45
    assert draw_windows((2, 2), np.random.default_rng(0))[3] == (1, 1, 1, 1)


def test_every_image_can_be_in_every_part() -> None:
    """All images have the same shape, so they fill their parts."""
    mosaic = Mosaic(probability=1.0, scale=(1.0, 1.0), until=0.9, min_visible=0.3, fill=FILL)
    seen = set()
    for seed in range(40):
        image = mosaic(flat(100), np.random.default_rng(seed), drawn(*[SHAPE] * 3))["image"]
        corners = [int(image[i, j, 0]) for i in (0, -1) for j in (0, -1)]
        assert sorted(corners) == [100, 101, 102, 103]
        assert np.unique(image).tolist() == [100, 101, 102, 103]
        seen |= set(enumerate(corners))
    assert len(seen) == 16


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.4, 0.6), (0.3, 2.0)])
def test_boxes_of_a_mosaic_lie_on_their_image(scale: tuple[float, float]) -> None:
    """All pixels of a box have the value of its label, to a pixel of rounding at its edges."""
    counts = []
    for seed in range(30):
        found = mosaic_of(seed, scale=scale)
        counts.append(len(found["boxes"]))
        for label, box in zip(found["labels"], found["boxes"], strict=True):
            x0, y0 = np.ceil(box[:2]).astype(int)
            x1, y1 = np.floor(box[2:]).astype(int)
            assert (found["image"][y0:y1, x0:x1] == label).all()
    assert 4 < np.mean(counts) <= 16


def test_images_that_fit_into_their_part_are_shown_whole() -> None:
    """Images have a quarter of the size, 10 x 15 pixels, and all sixteen boxes of 5 x 7.5 pixels
    are kept."""
    mosaic = Mosaic(probability=1.0, scale=(0.25, 0.25), until=0.9, min_visible=1.0, fill=FILL)
    for seed in range(10):
        found = mosaic(flat(100), np.random.default_rng(seed), drawn(*[SHAPE] * 3))
        sides = found["boxes"][:, 2:] - found["boxes"][:, :2]
        assert sides.tolist() == [[7.5, 5.0]] * 16
        assert (found["image"] == 9).all(axis=2).sum() == 40 * 60 - 4 * 10 * 15


def test_sizes_of_drawn_images() -> None:
    """Portrait and landscape images of any size get the same area."""
    for shape in ((400, 600), (60, 40), (4, 6)):
        assert sorted(
            fit(flat(1, shape), SHAPE, scale=0.5, resizer="pillow")["image"].shape[:2]
        ) == [20, 30]
    assert fit(flat(1, (4, 400)), SHAPE, scale=1.0, resizer="pillow")["image"].shape[:2] == (1, 60)


def test_mixed_images() -> None:
    """3/4 of 100 and 1/4 of 20 are 80; the boxes of both stay."""
    found = mix(flat(100), flat(20), share=0.75)
    assert (found["image"] == 80).all()
    assert found["labels"].tolist() == [100] * 4 + [20] * 4
    assert (mix(flat(255), flat(255), share=0.3)["image"] == 255).all()
    assert (mix(flat(7), flat(200), share=1.0)["image"] == 7).all()


def test_mixup() -> None:
    mixup = MixUp(probability=1.0, scale=(1.0, 1.0), until=0.9, min_visible=0.3, fill=FILL)
    found = mixup(flat(100), np.random.default_rng(0), drawn((80, 120)))
    assert found["image"].shape == (*SHAPE, 3)
    assert np.unique(found["image"]).size == 1
    assert abs(int(found["image"][0, 0, 0]) - 100) <= 1  # between 100 and 101
    assert found["boxes"].tolist() == [*flat(100)["boxes"].tolist(), *flat(101)["boxes"].tolist()]


@pytest.mark.parametrize("kind", [Mosaic, MixUp])
def test_boxes_without_pixels(kind: type) -> None:
    transform = kind(probability=0.5, scale=(0.5, 1.5), until=0.9, min_visible=0.3, fill=FILL)
    shapes, changed = ((80, 120), (60, 40), (40, 60)), 0
    for seed in range(20):
        found = transform(flat(100), np.random.default_rng(seed), drawn(*shapes))
        without = transform(
            flat(100, channels=0), np.random.default_rng(seed), drawn(*shapes, channels=0)
        )
        assert without["image"].shape == (*SHAPE, 0)
        assert without["boxes"].tolist() == found["boxes"].tolist()
        changed += bool((found["image"] != 100).any())
    assert 2 < changed < 18


# ---------------------------------------------------------------------------------------- in a run


@pytest.fixture
def cfg(tmp_path: Path) -> CfgNode:
    """Six scenes; the second has no box, the third a crowd besides its two boxes."""
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = (write_scenes(tmp_path / "scenes", count=6, seed=0),)
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = (64,), "none"
    names = ["ResizeShortestEdge", "Mosaic", "MixUp"]
    cfg.merge_from_list([f"{INPUT}.TRANSFORMS", names, f"{INPUT}.Mosaic.PROBABILITY", 1.0])
    return cfg


def training(cfg: CfgNode) -> TrainingDataset:
    records = load_dataset(cfg.DATASETS.TRAIN[0]).records
    return TrainingDataset.from_config(cfg, records, seed=0)


def test_samples_do_not_depend_on_the_cache(cfg: CfgNode) -> None:
    """They do not depend on earlier samples either."""
    cached, size = training(cfg), 64 * 80 * 3 / 1e6
    cfg.merge_from_list([f"{INPUT}.CACHE_MEGABYTES", 2 * size])
    small = training(cfg)
    cfg.merge_from_list([f"{INPUT}.CACHE_MEGABYTES", 0.0])
    uncached = training(cfg)
    for place in range(12):
        samples = [images[place, place % 6] for images in (cached, small, uncached)]
        for sample in samples[1:]:
            for name in ("image", "boxes", "labels"):
                assert torch.equal(sample[name], samples[0][name])
    assert (cached.cache.size, small.cache.size, uncached.cache.size) == (
        6 * 64 * 80 * 3,
        2 * 64 * 80 * 3,
        0,
    )


def test_crowds_of_drawn_images_do_not_become_objects(cfg: CfgNode) -> None:
    """The third scene has a crowd of 30 x 20 pixels. All boxes are those of the two classes, whose
    sides are 26 x 26 and 40 x 18 before they are scaled and cut."""
    cfg.merge_from_list([f"{INPUT}.Mosaic.SCALE", [0.5, 0.5], f"{INPUT}.MIN_VISIBLE", 1.0])
    cfg.merge_from_list([f"{INPUT}.MixUp.PROBABILITY", 0.0])
    for place in range(20):
        boxes = training(cfg)[place, 2]["boxes"]
        sides = {tuple(side) for side in (boxes[:, 2:] - boxes[:, :2]).round().tolist()}
        assert sides <= {(13.0, 13.0), (20.0, 9.0)}


def test_the_last_tenth_of_the_steps(cfg: CfgNode) -> None:
    """A sample without its progress is one of the start of the run."""
    images = training(cfg)
    plain = TransformChain([], num_classes=None)
    for progress, combined in ((0.0, True), (0.899, True), (0.9, False), (1.0, False)):
        found = images[3, 0, progress]
        expected = torch.equal(found["image"], images[3, 0]["image"])
        assert expected == combined
    images.transforms = plain
    assert torch.equal(found["image"], images[3, 0]["image"])
    cfg.merge_from_list([f"{INPUT}.Mosaic.UNTIL", 1.0, f"{INPUT}.MixUp.UNTIL", 1.0])
    always = training(cfg)
    assert torch.equal(always[3, 0, 1.0]["image"], always[3, 0]["image"])


@pytest.mark.parametrize("policy", ["list", "strong"])
def test_a_mosaic_of_one_image_is_refused(cfg: CfgNode, policy: str) -> None:
    if policy == "strong":
        cfg.merge_from_list([f"{INPUT}.TRANSFORMS", get_cfg().MODEL.RETINA_PLUGIN.INPUT.TRANSFORMS])
        cfg.merge_from_list([f"{INPUT}.AUGMENTATION", "strong"])
    records = load_dataset(cfg.DATASETS.TRAIN[0]).records
    check_transforms(cfg, records)
    words = (
        rf"{INPUT}\.TRANSFORMS: Mosaic combines 2 or more images, found 1 in .*\.json@.* to train "
        rf"on\. Add images, or .*{INPUT}\.AUGMENTATION"
    )
    with pytest.raises(DatasetError, match=words):
        check_transforms(cfg, records[:2])  # the second has no box and is left out
    cfg.merge_from_list([f"{INPUT}.AUGMENTATION", "none", f"{INPUT}.TRANSFORMS", ["RandomFlip"]])
    check_transforms(cfg, records[:2])


def test_the_cache_drops_what_was_used_longest_ago() -> None:
    reads: list[int] = []

    def image(index: int) -> np.ndarray:
        reads.append(index)
        return np.zeros((10, 10, 3), dtype=np.uint8)

    cache = ImageCache(megabytes=0.00065)  # two images of 300 bytes
    for index in (0, 1, 0, 2, 0, 1):  # 2 replaces 1, then 1 replaces 2
        cache.get(index, lambda i=index: image(i))
    assert reads == [0, 1, 2, 1]
    assert cache.size == 600
    assert ImageCache(megabytes=0.0001).get(0, lambda: image(9)).shape == (10, 10, 3)
    with pytest.raises(ValueError, match="read-only"):  # by a transform that writes into its input
        cache.get(0, lambda: image(0))[:] = 1
