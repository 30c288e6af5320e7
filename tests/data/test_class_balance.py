"""Repeat factors and class-aware sampling, on both hosts: factors by hand, equal classes, any first
step."""

from __future__ import annotations

import importlib
import importlib.util
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from retina_plugin.config import CfgNode, ConfigError, check_rules, get_cfg
from retina_plugin.data import DatasetError
from retina_plugin.data.batches import training_batches
from retina_plugin.data.class_balance import class_aware_epoch, repeat_factors
from tests.scenes import write_scenes

HOSTS = {"lightning": "retina_plugin.config"}
if importlib.util.find_spec("detectron2") is not None:
    HOSTS["detectron2"] = "retina_plugin.d2"


def records_of(*images: list[int]) -> list[dict[str, Any]]:
    """Images with boxes of the given classes."""
    return [
        {"annotations": [{"category_id": label, "iscrowd": 0} for label in labels]}
        for labels in images
    ]


RARE = records_of([0], [0, 0], [0, 1], [0], [], [0], [0, 2], [0])


@pytest.mark.parametrize(
    ("threshold", "root", "factors"),
    [
        # class 0 is in 7 of 8 images, classes 1 and 2 in one
        (0.5, True, [1, 1, 2, 1, 1, 1, 2, 1]),  # sqrt(0.5 / 0.125) = 2
        (0.5, False, [1, 1, 4, 1, 1, 1, 4, 1]),
        (0.1, True, [1] * 8),
    ],
)
def test_repeat_factors(threshold: float, root: bool, factors: list[float]) -> None:
    found = repeat_factors(RARE, threshold=threshold, root=root)
    assert_close(found, torch.tensor(factors, dtype=torch.float32))


def test_classes_come_equally_often() -> None:
    """800 images: class 0 in 700, class 1 in 50, class 2 in one, 49 are empty. Each class is drawn
    266 or 267 times."""
    records = records_of(*[[0]] * 700, *[[1]] * 50, [2], *[[]] * 49)
    epoch = class_aware_epoch(records)
    found = epoch(5)
    assert len(found) == 800
    classes = Counter(records[i]["annotations"][0]["category_id"] for i in found)
    assert set(classes.values()) <= {266, 267}
    images = Counter(found)
    assert {images[i] for i in range(700)} == {0, 1}
    assert {images[i] for i in range(700, 750)} == {5, 6}
    assert epoch(5) == found != epoch(6)


def test_an_image_of_two_classes_comes_for_both() -> None:
    """Twelve images of three classes in turn have each class four times."""
    records = records_of([0, 1], [0], [2, 2], *[[]] * 9)
    found = Counter(class_aware_epoch(records)(0))
    assert found == {0: 6, 1: 2, 2: 4}


def test_crowds_are_no_objects_of_their_class() -> None:
    records = records_of([0], [1])
    records[1]["annotations"][0]["iscrowd"] = 1
    assert class_aware_epoch(records)(0) == [0, 0]
    with pytest.raises(DatasetError, match="ClassAwareSampler: no training image has a box"):
        class_aware_epoch(records[1:])


def batches_of(cfg: CfgNode, records: list[dict[str, Any]], count: int, **start: int) -> list:
    found = training_batches(cfg, records, seed=3)
    found.start_at(start.get("step", 0), seed=3)
    return list(islice(found, count))


@pytest.fixture
def cfg() -> CfgNode:
    cfg = get_cfg()
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER = 3, 20
    cfg.DATALOADER.REPEAT_THRESHOLD = 0.5
    return cfg


@pytest.mark.parametrize(
    "sampler", ["TrainingSampler", "RepeatFactorTrainingSampler", "ClassAwareSampler"]
)
def test_batches_start_at_any_step(cfg: CfgNode, sampler: str) -> None:
    """The progress is that of the step. The ranks share each batch or the order of the images."""
    cfg.DATALOADER.SAMPLER_TRAIN, cfg.SOLVER.IMS_PER_BATCH = sampler, 4
    records = [{**r, "width": k % 3, "height": 1} for k, r in enumerate(RARE)]
    whole = batches_of(cfg, records, 20)
    assert batches_of(cfg, records, 9, step=11) == whole[11:]
    for step, batch in enumerate(whole):
        assert {progress for _, _, progress in batch} == {step / 20}
    parts = [
        list(islice(training_batches(cfg, records, seed=3, rank=rank, world_size=2), 20))
        for rank in range(2)
    ]
    assert {len(batch) for part in parts for batch in part} == {2}
    positions = [p for part in parts for batch in part for p, _, _ in batch]
    assert len(set(positions)) == 80


def test_the_budget_replaces_the_progress(cfg: CfgNode) -> None:
    batches = training_batches(cfg, RARE, seed=3)
    batches.progress = lambda step: 0.25
    assert {key[2] for batch in islice(batches, 5) for key in batch} == {0.25}


def test_rare_classes_come_more_often(cfg: CfgNode) -> None:
    shares = {}
    for sampler in ("TrainingSampler", "RepeatFactorTrainingSampler", "ClassAwareSampler"):
        cfg.DATALOADER.SAMPLER_TRAIN = sampler
        images = Counter(i for batch in batches_of(cfg, RARE, 800) for _, i, _ in batch)
        shares[sampler] = (images[2] + images[6]) / 2400
    # 2 of 8 images; 4 of 10; classes 1 and 2 and a seventh of the turns of class 0, twice
    expected = [0.25, 0.4, 2 / 3 + 2 / 21]
    assert_close(list(shares.values()), expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["DATALOADER.SAMPLER_TRAIN", "Balanced"],
            "SAMPLER_TRAIN: expected TrainingSampler, RepeatFactorTrainingSampler or ClassAware",
        ),
        (
            ["DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler"],
            "REPEAT_THRESHOLD for .*RepeatFactorTrainingSampler: expected above 0.*found 0.0",
        ),
        (
            [
                "MODEL.META_ARCHITECTURE",
                "RetinaNet",
                "DATALOADER.SAMPLER_TRAIN",
                "ClassAwareSampler",
            ],
            "SAMPLER_TRAIN for RetinaNet: expected a sampler of Detectron2",
        ),
    ],
)
def test_settings_that_cannot_work(host: str, overrides: list[str], words: str) -> None:
    cfg = importlib.import_module(HOSTS[host]).get_cfg()
    cfg.merge_from_list(["MODEL.META_ARCHITECTURE", "FocalRetinaNet", *overrides])
    with pytest.raises(ConfigError, match=words):
        check_rules(cfg)


LOADERS = {"lightning": "retina_plugin.lit.data", "detectron2": "retina_plugin.d2.loader"}


@pytest.mark.parametrize("sampler", ["RepeatFactorTrainingSampler", "ClassAwareSampler"])
@pytest.mark.parametrize("host", HOSTS)
def test_on_the_hosts(tmp_path: Path, host: str, sampler: str) -> None:
    """The loaders of both hosts give the images in the order of the sampler."""
    cfg = importlib.import_module(HOSTS[host]).get_cfg()
    cfg.MODEL.META_ARCHITECTURE, cfg.SEED = "FocalRetinaNet", 3
    cfg.DATASETS.TRAIN = (write_scenes(tmp_path, count=6, seed=0),)
    cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_WORKERS, cfg.INPUT.MIN_SIZE_TRAIN = 2, 0, (64,)
    cfg.DATALOADER.SAMPLER_TRAIN, cfg.DATALOADER.REPEAT_THRESHOLD = sampler, 1.0
    found = importlib.import_module(LOADERS[host]).training_samples(cfg)
    files = [Path(sample["file_name"]).name for sample in islice(found, 8)]
    assert "002.png" not in files  # it has no box
    assert len(files) == 8
