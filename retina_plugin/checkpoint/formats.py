"""Other programs' names of parameters, turned into Detectron2's, which are this project's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from retina_plugin.checkpoint.torchvision_names import (
    BOTTOM_UP,
    State,
    reorder_head_outputs,
    resnet_names,
    retinanet_names,
)
from retina_plugin.modeling.anchors import AnchorGenerator

BATCH_NORM_EPS = 1e-5  # of every batch norm
TRAINABLE_NORM = re.compile(r"\b(stem|res\d)\..*\.num_batches_tracked$")


@dataclass(frozen=True)
class TrainingInputs:
    """What the weights were trained on. None: not known."""

    input_format: str
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...] | None = None
    stride_in_1x1: bool | None = None


MSRA = TrainingInputs("BGR", (103.53, 116.28, 123.675), (1.0, 1.0, 1.0), True)
CAFFE2 = TrainingInputs("BGR", (103.53, 116.28, 123.675))
TORCHVISION = TrainingInputs("RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), False)


@dataclass(frozen=True)
class CheckpointFormat:
    """What a file turned out to be."""

    title: str
    # in Detectron2's names, those of a bare backbone perhaps without "backbone.bottom_up."
    state: State
    inputs: TrainingInputs | None = None


def detect_format(
    state: State, author: str, *, own: State, anchors: AnchorGenerator | None
) -> CheckpointFormat:
    """Find out whose names a file has and turn them into Detectron2's.

    Args:
        state: as read.
        author: what the file says of its origin; may be "".
        own: the model's parameters; a backbone that has torchvision's names itself, as timm's
            ResNets do, gets them as they are.
        anchors: of the model; None for one that is no RetinaNet of this project.
    """
    if any(name.startswith("backbone.body.") for name in state):
        return _torchvision_detector(state, own, anchors)
    if any(CAFFE2_NAME.match(name) for name in state):
        return CheckpointFormat(
            "Caffe2 names", caffe2_names(state, own), MSRA if _is_msra(state) else CAFFE2
        )
    if "layer1.0.conv1.weight" in state and not any("layer1." in name for name in own):
        return CheckpointFormat("torchvision ResNet", resnet_names(state), TORCHVISION)
    inputs = {"torchvision": TORCHVISION, "Detectron2 Model Zoo": MSRA}.get(author)
    return CheckpointFormat(author or "names as they are", state, inputs)


def _torchvision_detector(
    state: State, own: State, anchors: AnchorGenerator | None
) -> CheckpointFormat:
    """A RetinaNet in full, of any other only the backbone: the pyramid of a Faster R-CNN has the
    same names, one level off."""
    if any(name.startswith("head.classification_head.") for name in state):
        renamed = resnet_names(retinanet_names(state))
        return CheckpointFormat(
            "torchvision RetinaNet", reorder_head_outputs(renamed, own, anchors), TORCHVISION
        )
    renamed = {name.replace("backbone.body.", BOTTOM_UP): value for name, value in state.items()}
    return CheckpointFormat(
        "torchvision detector, its backbone", resnet_names(renamed), TORCHVISION
    )


# Caffe2's: conv1_w, res_conv1_bn_s, res2_0_branch2a_w, ...
CAFFE2_NAME = re.compile(
    r"(?:(?P<stem>(?:res_)?conv1)|res(?P<stage>\d)_(?P<block>\d+)_branch(?P<branch>1|2a|2b|2c))"
    r"(?:_(?P<norm>bn|gn))?_(?P<kind>w|b|s|gamma|beta|rm|riv|running_mean|running_var)$"
)
BRANCHES = {"1": "shortcut", "2a": "conv1", "2b": "conv2", "2c": "conv3"}
KINDS = {
    "w": "weight",
    "s": "weight",
    "gamma": "weight",
    "b": "bias",
    "beta": "bias",
    "rm": "running_mean",
    "riv": "running_var",
}


def caffe2_names(state: State, own: Iterable[str]) -> State:
    """Those of a ResNet; names of anything else stay.

    Older files have the statistics of batch norms multiplied into weight and bias. For frozen norms
    that is mean 0 and a variance which makes 1 with epsilon; norms that learn, which count their
    batches, cannot take them.
    """
    renamed = {
        _caffe2_name(name): value for name, value in state.items() if not name.endswith("_momentum")
    }
    if any("_bn_" in name for name in state) and not any(
        TRAINABLE_NORM.search(name) for name in own
    ):
        for name, value in list(renamed.items()):
            if name.endswith(".norm.weight"):
                norm = name.removesuffix(".weight")
                renamed.setdefault(f"{norm}.running_mean", torch.zeros_like(value))
                renamed.setdefault(
                    f"{norm}.running_var", torch.full_like(value, 1 - BATCH_NORM_EPS)
                )
    return renamed


def _caffe2_name(name: str) -> str:
    found = CAFFE2_NAME.match(name)
    if not found:
        return name
    place = (
        "stem.conv1"
        if found["stem"]
        else f"res{found['stage']}.{found['block']}.{BRANCHES[found['branch']]}"
    )
    return f"{place}{'.norm' if found['norm'] else ''}.{KINDS.get(found['kind'], found['kind'])}"


def _is_msra(state: State) -> bool:
    """The original ResNets, and not the later ones with group norm or with groups of channels."""
    inner = state.get("res2_0_branch2b_w")
    return (
        inner is not None
        and inner.dim() == 4
        and inner.shape[0] == inner.shape[1]
        and not any("_gn_" in name for name in state)
    )
