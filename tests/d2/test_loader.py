"""Detectron2's training loader: the same images and augmentation from any first step, grouped by
aspect ratio."""

from __future__ import annotations

import random
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from retina_plugin.config import ConfigError
from retina_plugin.d2 import get_cfg
from retina_plugin.d2.config import CfgNode
from retina_plugin.d2.datasets import register_datasets
from retina_plugin.d2.loader import TrainingLoader, training_loader
from retina_plugin.d2.mapper import RetinaDatasetMapper, seeded
from retina_plugin.data.repeat_factor_sampler import RepeatFactorBatchSampler
from tests.scenes import write_scenes

pytestmark = pytest.mark.slow


@pytest.fixture(params=["FocalRetinaNet", "RetinaNet"])
def cfg(tmp_path: Path, request: pytest.FixtureRequest) -> CfgNode:
    """A config with twelve scenes, four of them tall, and much random augmentation, by our
    transforms or by Detectron2's."""
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = request.param
    cfg.DATASETS.TRAIN = (write_scenes(tmp_path, count=12, seed=0),)
    register_datasets(cfg.DATASETS.TRAIN)
    cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_WORKERS, cfg.SEED = 4, 0, 1
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.CROP.ENABLED = (48, 64, 80), True
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    return cfg


def batches(loader: TrainingLoader, count: int) -> list[list[dict[str, Any]]]:
    found = [
        [{"image": s["image"], "boxes": s["instances"].gt_boxes.tensor} for s in batch]
        for batch in islice(loader, count)
    ]
    assert all(len(batch) == 4 for batch in found)
    return found


@pytest.mark.parametrize("workers", [0, 2])
def test_it_can_start_at_any_step(cfg: CfgNode, workers: int) -> None:
    whole = batches(training_loader(cfg), 8)
    cfg.DATALOADER.NUM_WORKERS = workers
    np.random.seed(5)  # noqa: NPY002  another process has drawn otherwise
    resumed = training_loader(cfg)
    resumed.start_at(5)
    assert_close(batches(resumed, 3), whole[5:], rtol=0, atol=0)


def test_a_checkpoint_keeps_the_seed(cfg: CfgNode) -> None:
    """``SEED: -1`` draws a new seed for each run; a resumed run uses the seed of the first
    start."""
    cfg.SEED = -1
    first, other = training_loader(cfg), training_loader(cfg)
    assert first.state_dict() != other.state_dict()
    other.load_state_dict(first.state_dict())
    assert_close(batches(other, 2), batches(first, 2), rtol=0, atol=0)


@pytest.mark.parametrize("grouped", [True, False])
def test_wide_and_tall_images_apart(cfg: CfgNode, grouped: bool) -> None:
    """Four of twelve images are tall; with groups, all images of a batch of four have one
    orientation."""
    cfg.DATALOADER.ASPECT_RATIO_GROUPING, cfg.INPUT.CROP.ENABLED = grouped, False
    shapes = [
        {s["image"].shape[1] > s["image"].shape[2] for s in batch}
        for batch in batches(training_loader(cfg), 12)
    ]
    assert (max(map(len, shapes)) == 1) == grouped


def test_drawing_leaves_the_generators_as_they_were() -> None:
    def draw() -> list[Any]:
        return [np.random.rand(), random.random(), torch.rand(1).item()]  # noqa: NPY002

    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    torch.manual_seed(0)
    expected = [draw(), draw()]
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    torch.manual_seed(0)
    found = [draw()]
    with seeded(1, 2):
        inside = draw()
    found.append(draw())
    assert found == expected
    with seeded(1, 2):
        assert draw() == inside
    with seeded(1, 3):
        assert draw() != inside


SAMPLER = "RepeatFactorTrainingSampler"


def repeated(cfg: CfgNode) -> CfgNode:
    cfg.DATALOADER.SAMPLER_TRAIN, cfg.DATALOADER.REPEAT_THRESHOLD = SAMPLER, 1.0
    return cfg


@pytest.mark.parametrize("cfg", ["FocalRetinaNet"], indirect=True)
@pytest.mark.parametrize("workers", [0, 2])
def test_images_of_rare_classes_are_repeated(cfg: CfgNode, workers: int) -> None:
    """Batches have one orientation, and a resumed run continues with the same images."""
    cfg.INPUT.CROP.ENABLED = False
    whole = batches(training_loader(repeated(cfg)), 8)
    for batch in whole:
        assert len({s["image"].shape[1] > s["image"].shape[2] for s in batch}) == 1
    cfg.DATALOADER.NUM_WORKERS = workers
    resumed = training_loader(cfg)
    resumed.start_at(5)
    assert_close(batches(resumed, 3), whole[5:], rtol=0, atol=0)


@pytest.mark.parametrize("cfg", ["FocalRetinaNet"], indirect=True)
def test_repeats_are_those_of_detectron2(cfg: CfgNode) -> None:
    """Detectron2's loader draws the same images in the same batches; only the transforms differ."""
    loaders = [training_loader(repeated(cfg))]
    cfg.MODEL.META_ARCHITECTURE = "RetinaNet"
    loaders.append(training_loader(cfg))
    ours, theirs = (
        [[sample["file_name"] for sample in batch] for batch in islice(loader, 8)]
        for loader in loaders
    )
    assert ours == theirs


def test_ranks_share_the_positions_of_repeated_images() -> None:
    """Two ranks split the sequence of images that one rank has; the position of an image decides
    its transforms."""
    factors, groups = torch.tensor([1.0, 1.0, 3.0, 1.0]), [None] * 4

    def pairs(rank: int, ranks: int) -> list[tuple[int, int]]:
        rows = RepeatFactorBatchSampler(
            factors=factors, groups=groups, batch_size=4, seed=1, rank=rank, world_size=ranks
        )
        return [pair for batch in islice(rows, 12 // (4 // ranks)) for pair in batch]

    alone = pairs(0, 1)
    assert [place for place, _ in alone] == list(range(12))
    assert sorted(pairs(0, 2)[:6] + pairs(1, 2)[:6]) == alone
    assert [place for place, _ in pairs(1, 2)[:6]] == [1, 3, 5, 7, 9, 11]


@pytest.mark.parametrize("sampler", [SAMPLER, "RandomSubsetTrainingSampler"])
def test_detectron2s_other_samplers(
    cfg: CfgNode, sampler: str, capsys: pytest.CaptureFixture
) -> None:
    repeated(cfg).DATALOADER.SAMPLER_TRAIN = sampler
    cfg.DATALOADER.RANDOM_SUBSET_RATIO = 0.9
    if cfg.MODEL.META_ARCHITECTURE == "FocalRetinaNet":
        if sampler != SAMPLER:
            with pytest.raises(ConfigError, match=f"SAMPLER_TRAIN: expected .*found '{sampler}'"):
                training_loader(cfg)
        return
    loader = training_loader(cfg)
    assert (
        f"DATALOADER.SAMPLER_TRAIN {sampler}: a resumed run does not "
        "continue the order of the images but draws a new one" in capsys.readouterr().out
    )
    assert len(next(iter(loader))) == 4


@pytest.mark.parametrize("mapper", ["shared", "detectron2"])
def test_which_transforms(cfg: CfgNode, mapper: str) -> None:
    """Detectron2's mapper serves its own models, and FocalRetinaNet by one key. Its samples have
    the same form."""
    cfg.MODEL.RETINA_PLUGIN.INPUT.MAPPER = mapper
    loader = training_loader(cfg)
    dataset, (sample, *_) = loader.dataset, next(iter(loader))
    assert {"image", "instances", "image_id", "file_name", "height", "width"} == set(sample)
    theirs = isinstance(getattr(dataset, "mapper", None), RetinaDatasetMapper)
    assert theirs == (cfg.MODEL.META_ARCHITECTURE == "RetinaNet" or mapper == "detectron2")
