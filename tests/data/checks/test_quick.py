"""The fast rules find what the full check finds."""

from __future__ import annotations

import shutil

from retina_plugin.config import get_cfg
from retina_plugin.data import load_dataset
from retina_plugin.data.checks import check_datasets, quick_findings
from retina_plugin.engine.data_checks import data_check_line
from tests.data.checks.sets import VIEW, Scene


def scenes(tmp_path) -> tuple[str, str]:
    """Training and validation set with a finding of each fast rule, and some of others."""
    training, validation = Scene(tmp_path / "t"), Scene(tmp_path / "v", first_seed=50)
    training.add_box(3, 1, [5, 30, 4, 4])
    training.add_box(3, 2, [5, 3, 20, 15])
    training.add_box(4, 1, [10, 10, 0, 9])
    validation.add_box(4, 1, [10, 10, 5, 5])
    shutil.copy(training.path(4), validation.path(7))
    return training.write(), validation.write()


def test_the_same_findings_as_the_full_check(tmp_path):
    names = scenes(tmp_path)
    training, validation = map(load_dataset, names)
    quick = quick_findings([training], [validation], VIEW)
    assert [f.rule for f in quick] == ["two-classes", "small-box", "leaked-image"]
    full = check_datasets(names, lambda _: VIEW, show=False).findings
    assert set(quick) <= set(full)
    assert {f.rule for f in full} - {f.rule for f in quick} == {"no-area"}


def test_a_set_is_not_compared_with_itself(tmp_path):
    dataset = load_dataset(Scene(tmp_path / "a").write())
    assert quick_findings([dataset], [dataset], VIEW) == []
    assert quick_findings([], [], VIEW) == []


def test_the_line_before_a_training(tmp_path):
    cfg = get_cfg()
    train, test = scenes(tmp_path)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (train,), (test,)
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 48, 64
    line = data_check_line(cfg)
    assert line.startswith("data check: 1 two-classes, 1 small-box, 1 leaked-image (first: ")
    assert f"retina data check {train} {test} INPUT.MIN_SIZE_TEST 48 INPUT.MAX_SIZE_TEST 64" in line
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 96, 128
    assert data_check_line(cfg) == ""
