"""What a sample of the training loader and of the test loader is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from retina_plugin.config import CfgNode, get_cfg
from retina_plugin.data import DatasetError, load_dataset
from retina_plugin.lit import data
from retina_plugin.lit.data import TrainingImages, training_records, training_samples
from tests.scenes import write_scenes


@pytest.fixture
def cfg(tmp_path: Path) -> CfgNode:
    """Six scenes; the second has no box, the third a crowd."""
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = (write_scenes(tmp_path / "scenes", count=6, seed=0),)
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP, cfg.INPUT.MIN_SIZE_TEST = (64,), "none", 96
    return cfg


def training_images(cfg: CfgNode) -> TrainingImages:
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    return TrainingImages(training_records(cfg), inputs=cfg.INPUT, seed=0)


def test_sample(cfg: CfgNode) -> None:
    images = training_images(cfg)
    record, sample = images.records[0], images[7, 0]
    file = np.asarray(Image.open(record["file_name"]))
    assert sample["image"].dtype == torch.uint8
    assert (sample["image"].numpy() == file[..., ::-1].transpose(2, 0, 1)).all()  # BGR
    assert_close(sample["boxes"], torch.tensor([a["bbox"] for a in record["annotations"]]))
    assert_close(sample["labels"], torch.tensor([0, 1]))
    assert sample["file_name"] == record["file_name"]


def test_without_boxes_and_with_a_crowd(cfg: CfgNode) -> None:
    images = training_images(cfg)
    empty, crowded = images[0, 1], images[0, 2]
    assert (empty["boxes"].shape, empty["labels"].shape) == ((0, 4), (0,))
    assert (empty["boxes"].dtype, empty["labels"].dtype) == (torch.float32, torch.int64)
    assert len(images.records[2]["annotations"]) == 3
    assert len(crowded["boxes"]) == 2


def test_boxes_outside_the_crop_are_dropped(cfg: CfgNode) -> None:
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = (
        True,
        "absolute",
        [20.0, 20.0],
    )
    images = training_images(cfg)
    samples = [images[place, 0] for place in range(40)]
    assert {len(sample["boxes"]) for sample in samples} >= {0, 1}
    for sample in samples:
        assert len(sample["boxes"]) == len(sample["labels"])
        sides = sample["boxes"][:, 2:] - sample["boxes"][:, :2]
        assert (sides > 0).all()


def test_augmentation_depends_on_the_place_in_the_run_alone(cfg: CfgNode) -> None:
    cfg.INPUT.RANDOM_FLIP = "horizontal"
    images, again = training_images(cfg), training_images(cfg)
    flipped = []
    for place in range(20):
        for name in ("image", "boxes", "labels"):
            assert_close(images[place, 0][name], again[place, 0][name], rtol=0, atol=0)
        flipped.append(not torch.equal(images[place, 0]["image"], images[0, 0]["image"]))
    assert 0 < sum(flipped) < 20


def test_images_without_boxes_are_left_out_by_default(cfg: CfgNode) -> None:
    assert len(training_records(cfg)) == 5
    assert len(training_images(cfg).records) == 6


def test_several_training_sets_are_one(cfg: CfgNode, tmp_path: Path) -> None:
    cfg.DATASETS.TRAIN += (write_scenes(tmp_path / "more", count=4, seed=1),)
    assert len(training_records(cfg)) == 5 + 3


def test_test_sample(cfg: CfgNode) -> None:
    images = data.TestImages(load_dataset(cfg.DATASETS.TRAIN[0]).records, inputs=cfg.INPUT)
    assert len(images) == 6
    sample = images[2]
    assert (sample["height"], sample["width"], sample["image_id"]) == (80, 64, 3)
    assert sample["image"].shape == (3, 120, 96)


@pytest.mark.parametrize("kind", [TrainingImages, data.TestImages])
def test_a_file_of_another_size_is_named(cfg: CfgNode, kind: Any) -> None:
    records = training_records(cfg)
    Image.new("RGB", (10, 20)).save(records[0]["file_name"])
    arguments = {"seed": 0} if kind is TrainingImages else {}
    images = kind(records, inputs=cfg.INPUT, **arguments)
    with pytest.raises(DatasetError, match=r"001\.png is 10x20 pixels, its annotations say 80x64"):
        images[(0, 0) if arguments else 0]


def test_samples_to_look_at_are_rgb(cfg: CfgNode) -> None:
    sample = next(training_samples(cfg))
    file = np.asarray(Image.open(sample["file_name"]))
    assert (sample["image"].numpy() == file.transpose(2, 0, 1)).all()
