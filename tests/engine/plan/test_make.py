"""Whole plans: they read back as configs, keep to the time, and say why."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from retina_plugin.config import get_cfg
from retina_plugin.data.transforms import TRANSFORMS, TransformChain
from retina_plugin.data.transforms.policies import transform_names
from retina_plugin.engine.plan.input_size import InputSize
from retina_plugin.engine.plan.machine import Machine
from retina_plugin.engine.plan.make import make_plan
from retina_plugin.engine.plan.measured_step import seconds_per_step
from retina_plugin.engine.plan.plan import Entry, Plan
from retina_plugin.engine.plan.reached_boxes import Column, ReachedBoxes, reached_boxes
from retina_plugin.engine.plan.rules import Datasets
from retina_plugin.engine.plan.task import Task
from retina_plugin.engine.plan.trial import Outcome, Trial, TrialSize
from retina_plugin.engine.read_config import complete_config
from retina_plugin.modeling.build import build_model
from retina_plugin.modeling.structures import ImageLosses
from tests.engine.plan.profiles import profile
from tests.models import compact_cfg

pytestmark = pytest.mark.slow

CPU = Machine(cores=2, memory=8 * 2**30, gpu="")
NAMES = Datasets(train=("train.json@images",), validation=("val.json@images",))


def task(*, minutes: float = 20.0, machine: Machine = CPU, **data: Any) -> Task:
    return Task(NAMES, profile(**data), profile(num_images=20), machine, minutes)


def no_trial(*_: Any) -> Trial:
    raise AssertionError("there is no trial")


def plan_of(*, step: float = 0.5, **changes: Any) -> Plan:
    return make_plan(task(**changes), lambda plan, height, width: step, no_trial)


@pytest.mark.parametrize("minutes", [0.0, 20.0])
@pytest.mark.parametrize("gpu", ["", "A GPU"])
@pytest.mark.parametrize("image", [(64, 64), (480, 640), (3000, 4000)])
def test_a_plan_is_a_config(
    tmp_path: Path, minutes: float, gpu: str, image: tuple[int, int]
) -> None:
    plan = plan_of(minutes=minutes, machine=Machine(4, 16 * 2**30, gpu), image=image)
    (tmp_path / "plan.yaml").write_text(plan.text())
    cfg = get_cfg()
    cfg.merge_from_file(str(tmp_path / "plan.yaml"))
    complete_config(cfg)
    assert plan["SOLVER.MAX_ITER"] == cfg.SOLVER.MAX_ITER
    assert NAMES.train == cfg.DATASETS.TRAIN


def test_a_plan_of_very_small_and_very_large_objects_can_be_built() -> None:
    plan = plan_of(image=(640, 640), objects=[(12.0, 12.0), (630.0, 630.0)], names=("a", "b"))
    assert plan["MODEL.RETINANET.IN_FEATURES"] == ["p2", "p3", "p4", "p5", "p6"]
    cfg = get_cfg()
    cfg.merge_from_list(plan.overrides())
    cfg.MODEL.RETINANET.NUM_CLASSES = 2
    build_model(complete_config(cfg))


def test_every_reason_stands_above_its_value() -> None:
    entries = (Entry("A.B", [1, 2], "why"), Entry("A.C.D", "x"), Entry("A.E", True, "w " * 80))
    lines = Plan(entries, ("head",)).text().splitlines()
    assert lines[:5] == ["# head", "A:", "  # why", "  B: [1, 2]", "  C:"]
    assert max(map(len, lines)) <= 100
    assert yaml.safe_load("\n".join(lines))["A"] == {"B": [1, 2], "C": {"D": "x"}, "E": True}


@pytest.mark.parametrize("name", ["car\n", "a\rb", "\x07", "\x85", "\u2028", "\ud83d", "日本 😀"])
def test_names_with_any_characters_in_comments(tmp_path: Path, name: str) -> None:
    plan = Plan((Entry("SEED", 7, f"{name} is rare"),), (f"{name}  3 boxes", name))
    (tmp_path / "plan.yaml").write_text(plan.text(), encoding="utf-8")
    cfg = get_cfg()
    cfg.merge_from_file(str(tmp_path / "plan.yaml"))
    assert cfg.SEED == 7


def test_the_tables_of_classes_and_sizes() -> None:
    """Images of 480 pixels are shown at 384: boxes of 20, 25 and 100 have 16, 20 and 80 pixels."""
    sides = [(20.0, 20.0), (25.0, 25.0), (100.0, 100.0)]
    data = profile(names=("car\n", "bus", "van"), objects=sides, num_images=10)
    before, after = (np.tile(shares, 10) for shares in ([0.0, 0.5, 1.0], [1.0, 0.75, 1.0]))
    columns = Column("default", before, ".0%"), Column("plan", after, ".2f")
    reached = ReachedBoxes(Entry("A", "B"), ("and two columns:",), columns, "")
    lines = reached_boxes(data, InputSize(384, 512, 0, ""), reached)
    assert lines[1:] == [
        "and two columns:",
        "class   boxes   10%   50%   90%  default  plan",
        "car\\n      10    16    16    16       0%  1.00",
        "bus        10    20    20    20      50%  0.75",
        "van        10    80    80    80     100%  1.00",
        "pixels      boxes  default  plan",
        "16 to 32       20      25%  0.88",
        "64 to 128      10     100%  1.00",
    ]


def test_an_entry_of_the_user_replaces_that_of_the_plan() -> None:
    plan = plan_of().with_entries([Entry("SEED", 7, "from the command line")])
    assert plan["SEED"] == 7
    assert [entry.key for entry in plan.entries].count("SEED") == 1


@pytest.mark.parametrize(
    ("minutes", "step", "steps", "batch"),
    [
        (20, 0.5, 2200, 4),  # (1200 - 15 - evaluations) / 0.5
        (20, 3.0, 600, 2),  # half the batch gives twice the steps
        (2, 4.0, 60, 2),  # a warning stands in the head
    ],
)
def test_steps_fit_into_the_time(minutes: float, step: float, steps: int, batch: int) -> None:
    plan = plan_of(minutes=minutes, step=step)
    assert plan["SOLVER.IMS_PER_BATCH"] == batch
    assert plan["SOLVER.MAX_ITER"] >= steps
    # the time of a step goes with its images and their pixels
    pixels = sum(plan["INPUT.MIN_SIZE_TRAIN"]) ** 2 / (288 + 480) ** 2
    seconds = plan["SOLVER.MAX_ITER"] * step * batch / 4 * pixels
    assert 0.8 * minutes * 60 < seconds < minutes * 60
    assert plan.text().startswith("# Only") == (minutes == 2)


def test_a_budget_below_one_step() -> None:
    with pytest.raises(ValueError, match=r"--minutes 0\.1: .* not one step fits\. Give at least"):
        plan_of(minutes=0.1, step=30.0)


def test_smaller_batches_for_few_images_and_little_memory() -> None:
    assert plan_of(num_images=3)["SOLVER.IMS_PER_BATCH"] == 2
    little = Machine(cores=2, memory=2**30, gpu="")
    assert plan_of(machine=little)["SOLVER.IMS_PER_BATCH"] == 2
    gpu = Machine(cores=2, memory=80 * 2**30, gpu="A GPU")
    plan = plan_of(machine=gpu)
    assert (plan["SOLVER.IMS_PER_BATCH"], plan["SOLVER.BASE_LR"]) == (8, 0.0015)


@pytest.mark.parametrize(
    ("names", "flip"),
    [(("a", "b"), "none"), (("7", "8"), "none"), (("cat", "b"), "horizontal")],
)
def test_characters_are_not_mirrored(names: tuple[str, ...], flip: str) -> None:
    assert plan_of(names=names)["INPUT.RANDOM_FLIP"] == flip


def test_many_objects_in_an_image() -> None:
    plan = plan_of(objects=[(30.0, 30.0)] * 300, num_images=8)
    assert plan["TEST.DETECTIONS_PER_IMAGE"] == 400
    with pytest.raises(KeyError):
        plan_of()["TEST.DETECTIONS_PER_IMAGE"]


def test_slices_of_large_images(tmp_path: Path) -> None:
    """Objects of 30 pixels in 3000 x 4000: slices of 512 pixels at the size of the images."""
    plan = plan_of(image=(3000, 4000), objects=[(30.0, 30.0)])
    node = "MODEL.RETINA_PLUGIN"
    assert 500 < plan[f"{node}.TEST.SLICE.SIZE"] < 860
    assert plan[f"{node}.TEST.SLICE.FULL_IMAGE"] is False
    assert plan[f"{node}.INPUT.RandomSlice.FULL_IMAGE"] == 0.0
    assert plan["INPUT.MIN_SIZE_TEST"] == plan["INPUT.MIN_SIZE_TRAIN"][1] == 512
    with pytest.raises(KeyError):
        plan["INPUT.CROP.ENABLED"]
    (tmp_path / "plan.yaml").write_text(plan.text())
    cfg = get_cfg()
    cfg.merge_from_file(str(tmp_path / "plan.yaml"))
    complete_config(cfg)
    names = [name for name, _ in TransformChain.from_config(cfg).transforms]
    assert names == ["RandomSlice", "ResizeShortestEdge", "RandomFlip"]
    large = plan_of(image=(3000, 4000), objects=[(30.0, 30.0)] * 9 + [(500.0, 500.0)])
    assert large[f"{node}.TEST.SLICE.FULL_IMAGE"] is True
    assert large["INPUT.MAX_SIZE_TRAIN"] == large["INPUT.MAX_SIZE_TEST"] == 683


def test_a_given_policy_of_augmentation_crops_windows_instead_of_slices() -> None:
    """A policy lists its own transforms, without RandomSlice."""
    key = "MODEL.RETINA_PLUGIN.INPUT.AUGMENTATION"
    large = task(image=(3000, 4000), objects=[(30.0, 30.0)])
    plan = make_plan(dataclasses.replace(large, given={key: "light"}), lambda *_: 0.5, no_trial)
    cfg = get_cfg()
    cfg.merge_from_list(plan.overrides())
    complete_config(cfg)
    assert cfg.MODEL.RETINA_PLUGIN.TEST.SLICE.SIZE == cfg.INPUT.CROP.SIZE[0] > 0
    assert cfg.INPUT.CROP.ENABLED
    assert not TRANSFORMS.unused_keys(cfg, transform_names(cfg))


def test_the_time_of_a_step_is_measured() -> None:
    assert 0 < seconds_per_step(compact_cfg(SOLVER__IMS_PER_BATCH=2), height=64, width=64) < 10


def test_pretrained_weights_get_the_pixels_of_their_training() -> None:
    pytest.importorskip("timm")
    data = dataclasses.replace(task(minutes=0.0), fixed=None)
    plan = make_plan(data, lambda plan, height, width: 0.5, no_trial)
    cfg = get_cfg()
    cfg.merge_from_list(plan.overrides())
    complete_config(cfg)
    pixels = (cfg.INPUT.FORMAT, list(cfg.MODEL.PIXEL_MEAN), list(cfg.MODEL.PIXEL_STD))
    assert pixels == ("RGB", [127.5] * 3, [127.5] * 3)


def test_the_time_of_a_trial_is_part_of_the_budget() -> None:
    """A trial of 116 s takes the time of 232 steps of 0.5 s."""

    def trial(weights: Plan, scratch: Plan, size: TrialSize) -> Trial:
        assert weights["MODEL.WEIGHTS"]
        assert not scratch["MODEL.WEIGHTS"]
        assert weights["INPUT.MIN_SIZE_TRAIN"] == scratch["INPUT.MIN_SIZE_TRAIN"]
        images = ImageLosses({"loss_cls": 2.0}, 1), ImageLosses({"loss_cls": 1.0}, 1)
        one, other = (Outcome(30, (losses,) * size.images) for losses in images)
        return Trial(one, other, seconds=116.0)

    without = plan_of()
    plan = make_plan(
        dataclasses.replace(task(), fixed=None), lambda plan, height, width: 0.5, trial
    )
    assert plan["MODEL.WEIGHTS"] == ""
    reasons = {entry.key: entry.reason for entry in plan.entries}
    assert "in a trial of 48 s for each network the loss was 2.000" in reasons["MODEL.WEIGHTS"]
    assert plan["SOLVER.MAX_ITER"] == without["SOLVER.MAX_ITER"] - 232
