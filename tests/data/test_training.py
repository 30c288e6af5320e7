"""Records and samples of a training run."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from retina_plugin.config import CfgNode, get_cfg
from retina_plugin.data import DatasetError, training_records
from retina_plugin.data.training import check_transforms, filter_empty_records, to_rgb
from tests.scenes import write_scenes

INPUT = "MODEL.RETINA_PLUGIN.INPUT"


@pytest.fixture
def cfg(tmp_path: Path) -> CfgNode:
    """Six scenes; the second has no box, the third a crowd."""
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = (write_scenes(tmp_path / "scenes", count=6, seed=0),)
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP, cfg.INPUT.MIN_SIZE_TEST = (64,), "none", 96
    return cfg


def test_images_without_boxes_are_left_out_by_default(cfg: CfgNode) -> None:
    assert len(training_records(cfg)) == 5
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    assert len(training_records(cfg)) == 6


def test_several_training_sets_are_one(cfg: CfgNode, tmp_path: Path) -> None:
    cfg.DATASETS.TRAIN += (write_scenes(tmp_path / "more", count=4, seed=1),)
    assert len(training_records(cfg)) == 5 + 3


@pytest.mark.parametrize(("filtered", "kept"), [(True, [3]), (False, [0, 1, 2, 3])])
def test_optional_fields_of_records_may_be_missing(
    cfg: CfgNode, filtered: bool, kept: list[int]
) -> None:
    boxes = [None, [], [{"iscrowd": 1}], [{"iscrowd": 1}, {}]]
    records = [{} if found is None else {"annotations": found} for found in boxes]
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = filtered
    assert filter_empty_records(cfg, records) == [records[index] for index in kept]
    with pytest.raises(DatasetError, match=r"no box to learn from in 3 images of .*Annotate"):
        filter_empty_records(cfg, records[:3])


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        ([f"{INPUT}.Mosaic.PROBABILITY", 1.0], f"{INPUT}.Mosaic.PROBABILITY"),
        ([f"{INPUT}.Mosaic.PROBABILITY", 1.0, f"{INPUT}.AUGMENTATION", "strong"], None),
        ([f"{INPUT}.JPEG.QUALITY", (30, 90)], None),  # the default, as a tuple
        ([f"{INPUT}.TRANSFORMS", ["RandomFlip"], "INPUT.CROP.ENABLED", True], "INPUT.CROP.ENABLED"),
        (["INPUT.CROP.ENABLED", True], None),
    ],
)
def test_keys_of_transforms_that_are_not_used(
    cfg: CfgNode, caplog: pytest.LogCaptureFixture, overrides: list, key: str | None
) -> None:
    cfg.merge_from_list(overrides)
    records = training_records(cfg)
    caplog.clear()
    check_transforms(cfg, records)
    expected = [f"{key} has no effect, because its transform is not used"] if key else []
    assert [message.split(". The")[0] for message in caplog.messages] == expected


def test_an_image_for_drawing_is_rgb() -> None:
    image = torch.arange(3)[:, None, None]
    assert to_rgb(image, "BGR").flatten().tolist() == [2, 1, 0]
    assert to_rgb(image, "RGB").flatten().tolist() == [0, 1, 2]


@pytest.mark.parametrize("order", ["BGR", "RGB"])
def test_samples_for_drawing_are_rgb(cfg: CfgNode, order: str) -> None:
    from retina_plugin.lit.data import training_samples

    cfg.INPUT.FORMAT = order
    sample = next(training_samples(cfg))
    file = np.asarray(Image.open(sample["file_name"]))
    assert (sample["image"].numpy() == file.transpose(2, 0, 1)).all()
