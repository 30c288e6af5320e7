"""Training and evaluation samples, which are the same on both hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from retina_plugin.config import CfgNode, get_cfg
from retina_plugin.data import DatasetError, Sample, load_dataset, read_record
from retina_plugin.data.samples import EvaluationDataset, TrainingDataset, read_without_pixels
from retina_plugin.data.transforms import TransformChain
from tests.scenes import write_scenes


@pytest.fixture
def cfg(tmp_path: Path) -> CfgNode:
    """Six scenes; the second has no box, the third a crowd."""
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = (write_scenes(tmp_path / "scenes", count=6, seed=0),)
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP, cfg.INPUT.MIN_SIZE_TEST = (64,), "none", 96
    return cfg


def records_of(cfg: CfgNode) -> list[dict[str, Any]]:
    return load_dataset(cfg.DATASETS.TRAIN[0]).records


def training(cfg: CfgNode) -> TrainingDataset:
    return TrainingDataset.from_config(cfg, records_of(cfg), seed=0)


def test_sample(cfg: CfgNode) -> None:
    images = training(cfg)
    record, sample = images.records[0], images[7, 0]
    file = np.asarray(Image.open(record["file_name"]))
    assert sample["image"].dtype == torch.uint8
    assert (sample["image"].numpy() == file[..., ::-1].transpose(2, 0, 1)).all()  # BGR
    assert_close(sample["boxes"], torch.tensor([a["bbox"] for a in record["annotations"]]))
    assert_close(sample["labels"], torch.tensor([0, 1]))
    assert sample["file_name"] == record["file_name"]
    assert (sample["image_id"], sample["height"], sample["width"]) == (1, 64, 80)


def test_without_boxes_and_with_a_crowd(cfg: CfgNode) -> None:
    images = training(cfg)
    empty, crowded = images[0, 1], images[0, 2]
    assert (empty["boxes"].shape, empty["labels"].shape) == ((0, 4), (0,))
    assert (empty["boxes"].dtype, empty["labels"].dtype) == (torch.float32, torch.int64)
    assert len(images.records[2]["annotations"]) == 3
    assert len(crowded["boxes"]) == 2


def test_boxes_outside_the_crop_are_dropped(cfg: CfgNode) -> None:
    crop = cfg.INPUT.CROP
    crop.ENABLED, crop.TYPE, crop.SIZE = True, "absolute", [20.0, 20.0]
    images = training(cfg)
    samples = [images[place, 0] for place in range(40)]
    assert {len(sample["boxes"]) for sample in samples} >= {0, 1}
    for sample in samples:
        assert len(sample["boxes"]) == len(sample["labels"])
        sides = sample["boxes"][:, 2:] - sample["boxes"][:, :2]
        assert (sides > 0).all()


def test_random_numbers_depend_only_on_the_position_in_the_run(cfg: CfgNode) -> None:
    cfg.INPUT.RANDOM_FLIP = "horizontal"
    images, again = training(cfg), training(cfg)
    flipped = []
    for place in range(20):
        for name in ("image", "boxes", "labels"):
            assert_close(images[place, 0][name], again[place, 0][name], rtol=0, atol=0)
        flipped.append(not torch.equal(images[place, 0]["image"], images[0, 0]["image"]))
    assert 0 < sum(flipped) < 20


def beside(sample: Sample, rng: np.random.Generator, draw: Any) -> Sample:
    """Put another image to the right of the first if both have the same height."""
    other = draw(rng)
    height = min(sample["image"].shape[0], other["image"].shape[0])
    width = sample["image"].shape[1]
    return {
        "image": np.concatenate([sample["image"][:height], other["image"][:height]], axis=1),
        "boxes": np.concatenate([sample["boxes"], other["boxes"] + [width, 0, width, 0]]),
        "labels": np.concatenate([sample["labels"], other["labels"]]),
    }


def mosaics(records: list[dict[str, Any]], read: Any = read_record) -> TrainingDataset:
    chain = TransformChain([("beside", beside)])
    return TrainingDataset(records, transforms=chain, read=read, input_format="RGB", seed=0)


def test_a_transform_draws_other_records(cfg: CfgNode) -> None:
    """It draws every record except its own, and the same one for the same position."""
    images, seen = mosaics(records_of(cfg)), set()
    files = [np.asarray(Image.open(r["file_name"])) for r in images.records]
    for place in range(60):
        sample = images[place, 3]
        assert torch.equal(sample["image"], images[place, 3]["image"])
        drawn = sample["image"].permute(1, 2, 0).numpy()[:, 80:]
        (index,) = [i for i, f in enumerate(files) if np.array_equal(f[: len(drawn)], drawn)]
        seen.add(index)
        objects = [a for a in images.records[index]["annotations"] if not a["iscrowd"]]
        boxes = [a["bbox"] for a in objects]
        moved = [[x0 + 80.0, y0, x1 + 80.0, min(y1, 64.0)] for x0, y0, x1, y1 in boxes]
        assert sample["boxes"][2:].tolist() == moved
    assert seen == {0, 1, 2, 4, 5}


def test_a_single_record_draws_itself(cfg: CfgNode) -> None:
    found = mosaics(records_of(cfg)[:1], read_without_pixels).sample(0, np.random.default_rng(0))
    assert found["image"].shape == (64, 160, 0)
    assert found["labels"].tolist() == [0, 1, 0, 1]


def test_a_transform_that_breaks_a_sample_is_named_with_the_file(cfg: CfgNode) -> None:
    images = training(cfg)
    images.transforms = TransformChain([("my_blur", lambda sample, *_: {**sample, "labels": None})])
    with pytest.raises(DatasetError, match=r"transform 'my_blur', image .*001\.png: .*labels"):
        images[0, 0]


def test_evaluation_sample(cfg: CfgNode) -> None:
    images = EvaluationDataset.from_config(cfg, records_of(cfg))
    assert len(images) == 6
    sample = images[2]
    assert (sample["height"], sample["width"], sample["image_id"]) == (80, 64, 3)
    assert sample["image"].shape == (3, 120, 96)


@pytest.mark.parametrize("kind", ["training", "evaluation"])
def test_a_file_of_another_size_is_named(cfg: CfgNode, kind: str) -> None:
    records = records_of(cfg)
    Image.new("RGB", (10, 20)).save(records[0]["file_name"])
    images, key = EvaluationDataset.from_config(cfg, records), 0
    if kind == "training":
        images, key = training(cfg), (0, 0)
    with pytest.raises(DatasetError, match=r"001\.png is 10x20 pixels, its annotations say 80x64"):
        images[key]
