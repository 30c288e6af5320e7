"""Choose the assigner and the losses."""

from __future__ import annotations

from retina_plugin.config.keys import NODE
from retina_plugin.engine.plan.anchors import THRESHOLD
from retina_plugin.engine.plan.given import GIVEN, Given, chosen_or_given
from retina_plugin.engine.plan.plan import Entry

ASSIGNER, CLASS_LOSS = f"{NODE}.ASSIGNER.NAME", f"{NODE}.CLASS_LOSS.NAME"
ALPHA, GAMMA = (f"MODEL.RETINANET.FOCAL_LOSS_{name}" for name in ("ALPHA", "GAMMA"))
THRESHOLDS, LABELS = (f"MODEL.RETINANET.IOU_{name}" for name in ("THRESHOLDS", "LABELS"))
MAX_IOU = "MaxIoUAssigner"
# With a smaller share of boxes that get positive anchors, ATSS is not used: it trains the others,
# which contain no centre of a cell, as background.
LEAST_POSITIVE = 0.95
# Li et al. (arXiv 2006.04388) use it with the GIoU loss. On digits, with smooth L1, it gave 1.4 AP.
BOX_LOSS_WEIGHT = 2.0


def assigner(given: Given, *, positive_share: float) -> Entry:
    """Choose the assigner; thresholds that only one assigner reads choose this one.

    Args:
        given: the values on the command line.
        positive_share: the share of the boxes to which ATSS gives positive anchors, from 0 to 1.
    """
    why = "its IoU threshold adapts to each box; docs/accuracy.md has what this gave in equal time"
    entry = Entry(ASSIGNER, "ATSSAssigner", why)
    key = next((key for key in (THRESHOLDS, LABELS) if key in given), "")
    if key:
        entry = Entry(ASSIGNER, MAX_IOU, f"it uses {key}, which is given")
    elif positive_share < LEAST_POSITIVE:
        why = f"only {positive_share:.0%} of the boxes would get positive anchors of ATSS"
        entry = Entry(ASSIGNER, MAX_IOU, f"{why}; this one gives each box its best anchor", True)
    return chosen_or_given([entry], given)[0]


def positive_threshold(given: Given) -> float:
    """Return the IoU from which an anchor reaches a box: the last of ``IOU_THRESHOLDS``, if they
    are given and the assigner uses them."""
    if THRESHOLDS in given and given.get(ASSIGNER, MAX_IOU) == MAX_IOU:
        threshold: float = given[THRESHOLDS][-1]
        return threshold
    return THRESHOLD


def class_loss(given: Given) -> Entry:
    """Choose the class loss; a weight or a gamma that quality focal loss lacks chooses another one.

    Args:
        given: the values on the command line.
    """
    why = "the target of a positive is the IoU of its predicted box, so scores rank boxes by it"
    entry = Entry(CLASS_LOSS, "quality_focal", why)
    gamma = given.get(GAMMA, 2.0)
    key = ALPHA if ALPHA in given else "" if gamma == 0 or gamma >= 1 else GAMMA
    if key:  # the targets of this assigner are soft, and focal loss needs hard ones
        name = "varifocal" if given.get(ASSIGNER) == "TaskAlignedAssigner" else "focal"
        entry = Entry(CLASS_LOSS, name, f"quality_focal cannot use {key}, which is {GIVEN}")
    return chosen_or_given([entry], given)[0]


def loss_entries(given: Given) -> list[Entry]:
    """Set the losses.

    Args:
        given: the values on the command line.
    """
    return [
        class_loss(given),
        Entry("MODEL.RETINANET.BBOX_REG_LOSS_TYPE", "giou", "measures overlap, as AP does"),
        Entry(
            f"{NODE}.CRITERION.DenseCriterion.BOX_LOSS_WEIGHT",
            BOX_LOSS_WEIGHT,
            "as in the paper of quality focal loss",
        ),
    ]
