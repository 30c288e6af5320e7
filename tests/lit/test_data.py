"""Which images the loaders of Lightning feed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retina_plugin.config import CfgNode, get_cfg
from retina_plugin.lit.data import training_records, training_samples
from tests.scenes import write_scenes


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


def test_samples_to_look_at_are_rgb(cfg: CfgNode) -> None:
    sample = next(training_samples(cfg))
    file = np.asarray(Image.open(sample["file_name"]))
    assert (sample["image"].numpy() == file.transpose(2, 0, 1)).all()
