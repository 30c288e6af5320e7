"""``retina data plan`` with keys, the seed of the split, little memory, and the data of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch import distributed as dist

from retina_plugin.cli.command import main
from retina_plugin.config import get_cfg
from retina_plugin.config.errors import ConfigError
from retina_plugin.data import load_dataset
from retina_plugin.data.errors import DatasetError
from retina_plugin.engine import own_data, plan_run
from retina_plugin.engine.own_data import train_own_data
from retina_plugin.engine.plan.machine import Machine
from retina_plugin.engine.plan.measured_step import least_step_bytes
from retina_plugin.engine.plan.origin import Origin, origin_of
from retina_plugin.engine.plan_run import OwnData
from tests.models import compact_cfg
from tests.scenes import write_scenes

pytestmark = pytest.mark.slow

TINY = [
    "MODEL.DEVICE", "cpu",
    "MODEL.WEIGHTS", "",
    "MODEL.RESNETS.STEM_OUT_CHANNELS", "8",
    "MODEL.RESNETS.RES2_OUT_CHANNELS", "8",
    "MODEL.FPN.OUT_CHANNELS", "16",
    "MODEL.RETINA_PLUGIN.NORM_GROUPS", "4",
    "MODEL.RETINANET.NUM_CONVS", "1",
]  # fmt: skip
MINUTES = "MODEL.RETINA_PLUGIN.SOLVER.MINUTES"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans do not measure a step."""
    monkeypatch.setattr(plan_run, "seconds_per_step", lambda cfg, **size: 0.1)


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    write_scenes(tmp_path / "scenes", count=15, seed=0)
    return tmp_path / "scenes"


def plan(scenes: Path, name: str, *words: str) -> Any:
    """Plan with ``retina data plan``, and return the config."""
    path = scenes.parent / name
    main(["data", "plan", "--host", "lightning", str(scenes), "--output", str(path), *words, *TINY])
    cfg = get_cfg()
    cfg.merge_from_file(str(path))
    return cfg


def images_of(names: tuple[str, ...]) -> list[str]:
    return [record["file_name"] for name in names for record in load_dataset(name).records]


def test_keys_of_a_plan(scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["SOLVER.IMS_PER_BATCH", "2", "INPUT.MIN_SIZE_TEST", "96", MINUTES, "3"]
    cfg = plan(scenes, "plan.yaml", "--minutes", "9", *words)
    assert (cfg.SOLVER.IMS_PER_BATCH, cfg.INPUT.MIN_SIZE_TEST) == (2, 96)
    assert cfg.SOLVER.BASE_LR == 0.00141
    assert cfg.INPUT.MIN_SIZE_TRAIN == (32, 96)
    assert cfg.MODEL.RETINA_PLUGIN.SOLVER.MINUTES == 3
    assert "SOLVER.MAX_ITER 1" in (printed := capsys.readouterr().out)
    assert ": 3 minutes: a step takes 0.1 s" in printed
    text = (scenes.parent / "plan.yaml").read_text()
    assert "8-bit RGB images, 28 boxes of 2 classes" in text or "8-bit RGB images, " in text
    with pytest.raises(ConfigError, match=rf"{MINUTES} 3 and SOLVER.MAX_ITER 7: give one"):
        plan(scenes, "other.yaml", "SOLVER.MAX_ITER", "7", MINUTES, "3")
    with pytest.raises(ConfigError, match=r"at most 6 lists, found 7"):
        plan(scenes, "other.yaml", "MODEL.ANCHOR_GENERATOR.SIZES", str([[9]] * 7))


def test_the_seed_of_the_split(scenes: Path, tmp_path: Path) -> None:
    found = [
        images_of(plan(scenes, f"{name}.yaml", *words).MODEL.RETINA_PLUGIN.DATASETS.VALIDATION)
        for name, words in (
            ("a", ()), ("b", ("--split-seed", "1")), ("c", ("--split-seed", "2", "SEED", "1")),
            ("d", ("SEED", "2")),
        )
    ]  # fmt: skip
    assert found[0] == found[1] == found[3] != found[2]
    text = (tmp_path / "c.yaml").read_text()
    assert "# split from the training images with --split-seed 2; the best" in text
    info = json.loads((tmp_path / "c.val.json").read_text())["info"]["retina_plugin"]
    assert info == {"data": str(scenes), "val": "", "group_by": "", "split_seed": 2}
    write_scenes(tmp_path / "val", count=4, seed=1)
    with pytest.raises(DatasetError, match=r"--split-seed splits the images of .*: leave"):
        plan(scenes, "e.yaml", "--val", str(tmp_path / "val"), "--split-seed", "2")


def test_little_memory(scenes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_run, "this_machine", lambda device: Machine(1, 10**6, ""))
    words = r"1 images of \d+ x \d+ pixels needs at least .*, and .* are free\. Lower SOLVER\.IMS"
    with pytest.raises(ConfigError, match=f"too little memory: a training step with {words}"):
        plan(scenes, "plan.yaml")
    assert not (scenes.parent / "plan.yaml").exists()


def test_memory_goes_with_the_pixels_of_the_batch() -> None:
    cfg = compact_cfg(SOLVER__IMS_PER_BATCH=2)
    small, large = (least_step_bytes(cfg, height=side, width=64) for side in (64, 128))
    cfg.SOLVER.IMS_PER_BATCH = 4
    assert least_step_bytes(cfg, height=64, width=64) == large
    assert large - small > 64 * 64 * 2 * 50  # the input alone has 12 bytes per pixel


def test_only_the_main_process_measures_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other ranks would never take part in a sum over all ranks."""
    cfg = compact_cfg(
        MODEL__RETINANET__NORM="SyncBN",
        MODEL__RETINA_PLUGIN__CRITERION__DenseCriterion__BOX_WEIGHTS="centerness",
    )
    expected = least_step_bytes(cfg, height=64, width=64)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("it waited for the other ranks")

    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda *_: 2)
    monkeypatch.setattr(dist, "all_reduce", refuse)
    assert least_step_bytes(cfg, height=64, width=64) == expected


def resume(out: Path, own: OwnData, monkeypatch: pytest.MonkeyPatch) -> None:
    from retina_plugin.engine.host import Request

    monkeypatch.setattr(own_data, "launch", lambda *args, **options: None)
    train_own_data(own, ["OUTPUT_DIR", str(out)], Request(resume=True), host="lightning")


def test_a_run_is_resumed_with_its_data(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(scenes, "run/plan.yaml", "--group-by", r"\d+")
    write_scenes(tmp_path / "other", count=4, seed=1)
    for own, words in (
        (OwnData(str(tmp_path / "other")), "planned with --data .*scenes, found .*other"),
        (OwnData(str(scenes), str(tmp_path / "other")), "planned with --val none, found .*other"),
        (OwnData(str(scenes), split_seed=3), "planned with --split-seed 1, found 3"),
        (OwnData(str(scenes), group_by="a"), r"planned with --group-by .*, found a\. Give the"),
    ):
        with pytest.raises(ConfigError, match=words):
            resume(tmp_path / "run", own, monkeypatch)
    for own in (
        OwnData(str(scenes)),
        OwnData(str(scenes), split_seed=1, group_by=r"\d+", minutes=4.0),
        OwnData(f"{scenes}/../scenes"),
    ):
        resume(tmp_path / "run", own, monkeypatch)


def test_a_plan_that_names_the_data_is_resumed_with_them(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scenes(tmp_path / "val", count=4, seed=1)
    plan(scenes, "run/plan.yaml", "--val", str(tmp_path / "val"))
    resume(tmp_path / "run", OwnData(str(scenes)), monkeypatch)
    resume(tmp_path / "run", OwnData(str(scenes), str(tmp_path / "val")), monkeypatch)
    for own in (OwnData(str(tmp_path / "val")), OwnData(str(scenes), str(scenes))):
        with pytest.raises(ConfigError, match="or another --output for a new run"):
            resume(tmp_path / "run", own, monkeypatch)


def test_files_of_older_plans_record_no_data(scenes: Path) -> None:
    (scenes / "plan.train.json").write_text("{}")
    assert origin_of(f"{scenes}/plan.train.json@", "v") is None
    assert origin_of(f"{scenes}/plan.train.json@images", "v") == Origin(
        f"{scenes}/plan.train.json@images", "v"
    )
