"""The assigner and the losses of a plan, and what follows from given values."""

from __future__ import annotations

from typing import Any

import pytest

from retina_plugin.config import get_cfg
from retina_plugin.engine.plan.given import GIVEN, with_given
from retina_plugin.engine.plan.losses import (
    ALPHA,
    ASSIGNER,
    CLASS_LOSS,
    GAMMA,
    THRESHOLDS,
    assigner,
    loss_entries,
    positive_threshold,
)
from retina_plugin.engine.plan.plan import Plan
from retina_plugin.engine.read_config import complete_config

BOX_LOSS = "MODEL.RETINANET.BBOX_REG_LOSS_TYPE"
WEIGHT = "MODEL.RETINA_PLUGIN.CRITERION.DenseCriterion.BOX_LOSS_WEIGHT"
ATSS, IOU, ALIGNED = "ATSSAssigner", "MaxIoUAssigner", "TaskAlignedAssigner"


@pytest.mark.parametrize(
    ("given", "name", "class_loss"),
    [
        ({}, ATSS, "quality_focal"),
        ({ASSIGNER: IOU}, IOU, "quality_focal"),
        ({ASSIGNER: ALIGNED}, ALIGNED, "quality_focal"),
        ({THRESHOLDS: [0.3, 0.6]}, IOU, "quality_focal"),
        ({"MODEL.RETINANET.IOU_LABELS": [0, 1], THRESHOLDS: [0.4]}, IOU, "quality_focal"),
        ({THRESHOLDS: [0.3, 0.6], ASSIGNER: ATSS}, ATSS, "quality_focal"),
        ({CLASS_LOSS: "ce"}, ATSS, "ce"),
        ({GAMMA: 1.5}, ATSS, "quality_focal"),
        ({GAMMA: 0.0}, ATSS, "quality_focal"),
        ({GAMMA: 0.5}, ATSS, "focal"),  # quality_focal refuses it
        ({ALPHA: 0.5}, ATSS, "focal"),  # quality_focal ignores a number, and refuses the others
        ({ALPHA: [0.5]}, ATSS, "focal"),
        ({ALPHA: "auto"}, ATSS, "focal"),
        ({ALPHA: "auto", ASSIGNER: ALIGNED}, ALIGNED, "varifocal"),  # focal needs hard targets
        ({GAMMA: 0.5, ASSIGNER: ALIGNED}, ALIGNED, "varifocal"),
        ({ALPHA: 0.5, CLASS_LOSS: "varifocal"}, ATSS, "varifocal"),
        ({BOX_LOSS: "smooth_l1", WEIGHT: 3.0}, ATSS, "quality_focal"),
    ],
)
def test_assigner_and_losses(given: dict[str, Any], name: str, class_loss: str) -> None:
    entries = assigner(given, positive_share=1.0), *loss_entries(given)
    plan = with_given(Plan(entries), given)
    assert (plan[ASSIGNER], plan[CLASS_LOSS]) == (name, class_loss)
    assert plan[BOX_LOSS] == given.get(BOX_LOSS, "giou")
    assert plan[WEIGHT] == given.get(WEIGHT, 2.0)
    assert [e.reason for e in plan.entries if e.key in given] == [GIVEN] * len(given)
    cfg = get_cfg()
    cfg.merge_from_list(plan.overrides())
    complete_config(cfg)


@pytest.mark.parametrize(
    ("given", "share", "name"),
    [
        ({}, 0.95, ATSS),
        ({}, 0.949, IOU),
        ({ASSIGNER: ATSS}, 0.5, ATSS),
        ({ASSIGNER: ALIGNED}, 0.5, ALIGNED),
    ],
)
def test_boxes_without_positive_anchors(given: dict[str, Any], share: float, name: str) -> None:
    entry = assigner(given, positive_share=share)
    assert entry.value == name
    words = f"only {share:.0%} of the boxes would get positive anchors of ATSS"
    assert entry.reason.startswith(words) == (name == IOU)


@pytest.mark.parametrize(
    ("given", "threshold"),
    [
        ({}, 0.5),
        ({THRESHOLDS: [0.3, 0.6]}, 0.6),
        ({THRESHOLDS: [0.3, 0.6], ASSIGNER: ATSS}, 0.5),  # ATSS does not use them
    ],
)
def test_the_threshold_of_reached_boxes(given: dict[str, Any], threshold: float) -> None:
    assert positive_threshold(given) == threshold
