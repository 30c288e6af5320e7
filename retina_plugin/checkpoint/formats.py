"""Recognise the format of a checkpoint, and rename its parameters to Detectron2's names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from retina_plugin.checkpoint.efficientnet_names import efficientnet_names, is_efficientnet
from retina_plugin.checkpoint.mmdet_names import is_mmdet, mmdet_names
from retina_plugin.checkpoint.torchvision_names import (
    BOTTOM_UP,
    State,
    reorder_head_outputs,
    resnet_names,
    retinanet_names,
)
from retina_plugin.modeling.anchors import AnchorGenerator
from retina_plugin.modeling.backbones.feature import WeightSource

BATCH_NORM_EPS = 1e-5
# A counter that only trainable batch norms have, not frozen ones.
TRAINABLE_NORM = re.compile(r"\b(stem|res\d)\..*\.num_batches_tracked$")


@dataclass(frozen=True)
class TrainingInputs:
    """Config values that the weights were trained with; None if unknown.

    Attributes:
        input_format: ``INPUT.FORMAT``, "BGR" or "RGB".
        pixel_mean: ``MODEL.PIXEL_MEAN``, for pixel values in [0, 255].
        pixel_std: ``MODEL.PIXEL_STD``.
        stride_in_1x1: ``MODEL.RESNETS.STRIDE_IN_1X1``.
    """

    input_format: str
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...] | None = None
    stride_in_1x1: bool | None = None


MSRA = TrainingInputs("BGR", (103.53, 116.28, 123.675), (1.0, 1.0, 1.0), True)
CAFFE2 = TrainingInputs("BGR", (103.53, 116.28, 123.675))
TORCHVISION = TrainingInputs("RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), False)


@dataclass(frozen=True)
class CheckpointFormat:
    """The format of a checkpoint and its renamed parameters.

    Attributes:
        title: name of the format, for messages.
        state: parameters with Detectron2's names. Those of a backbone without a head may lack the
            prefix ``backbone.bottom_up.``.
        inputs: the config values that the weights were trained with; None if unknown.
    """

    title: str
    state: State
    inputs: TrainingInputs | None = None


def detect_format(
    state: State,
    author: str,
    path: str,
    *,
    model_state: State,
    anchors: AnchorGenerator | None,
    source: WeightSource | None,
) -> CheckpointFormat:
    """Find out which program wrote a checkpoint, and rename its parameters to Detectron2's names.

    Args:
        state: parameters of the checkpoint.
        author: the file's ``__author__`` entry; "" if it has none.
        path: the file, for messages.
        model_state: parameters of the model. If the model uses torchvision's names itself, as
            timm's ResNets do, names of torchvision's ResNets stay unchanged.
        anchors: the model's anchors; None if the model is not a RetinaNet of this project.
        source: the other library's model of which the model's backbone is a part, or None.

    Raises:
        WeightsError: see :func:`retina_plugin.checkpoint.efficientnet_names.efficientnet_names`.
    """
    if is_efficientnet(state):
        renamed = efficientnet_names(state, source, path)
        return CheckpointFormat("EfficientNet-PyTorch, mapped to timm by position", renamed)
    if is_mmdet(state):
        # its models with "caffe" in the name have a ResNet of Caffe
        trained_with = MSRA if "caffe" in os.path.basename(path) else TORCHVISION
        renamed = mmdet_names(state, model_state, anchors)
        return CheckpointFormat("MMDetection", renamed, trained_with)
    if any(name.startswith("backbone.body.") for name in state):
        return _torchvision_detector(state, model_state, anchors)
    if any(CAFFE2_NAME.match(name) for name in state):
        return CheckpointFormat(
            "Caffe2 names", caffe2_names(state, model_state), MSRA if _is_msra(state) else CAFFE2
        )
    if "layer1.0.conv1.weight" in state and not any("layer1." in name for name in model_state):
        return CheckpointFormat("torchvision ResNet", resnet_names(state), TORCHVISION)
    inputs = {"torchvision": TORCHVISION, "Detectron2 Model Zoo": MSRA}.get(author)
    return CheckpointFormat(author or "names unchanged", state, inputs)


def _torchvision_detector(
    state: State, model_state: State, anchors: AnchorGenerator | None
) -> CheckpointFormat:
    """Take all parameters of a RetinaNet, but only the backbone of any other detector.

    The pyramid of a Faster R-CNN has the same parameter names for other levels.
    """
    if any(name.startswith("head.classification_head.") for name in state):
        renamed = resnet_names(retinanet_names(state))
        return CheckpointFormat(
            "torchvision RetinaNet",
            reorder_head_outputs(renamed, model_state, anchors),
            TORCHVISION,
        )
    renamed = {name.replace("backbone.body.", BOTTOM_UP): value for name, value in state.items()}
    return CheckpointFormat(
        "torchvision detector, its backbone", resnet_names(renamed), TORCHVISION
    )


# Caffe2's names: conv1_w, res_conv1_bn_s, res2_0_branch2a_w, ...
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


def caffe2_names(state: State, model_names: Iterable[str]) -> State:
    """Rename the parameters of a Caffe2 ResNet to Detectron2's names; keep other names.

    Older Caffe2 files store a batch norm as one scale and one shift, without statistics. A frozen
    batch norm computes the same if its mean is 0 and its variance is 1 - eps, so these values are
    added. A trainable batch norm needs statistics, so its ``running_mean`` and ``running_var`` stay
    missing.

    Args:
        state: parameters of the checkpoint.
        model_names: names of the model's parameters and buffers.
    """
    renamed = {
        _caffe2_name(name): value for name, value in state.items() if not name.endswith("_momentum")
    }
    if any("_bn_" in name for name in state) and not any(
        TRAINABLE_NORM.search(name) for name in model_names
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
    block = (
        "stem.conv1"
        if found["stem"]
        else f"res{found['stage']}.{found['block']}.{BRANCHES[found['branch']]}"
    )
    return f"{block}{'.norm' if found['norm'] else ''}.{KINDS.get(found['kind'], found['kind'])}"


def _is_msra(state: State) -> bool:
    """Return whether this is an original ResNet, without group norm and grouped convolutions."""
    inner = state.get("res2_0_branch2b_w")
    return (
        inner is not None
        and inner.dim() == 4
        and inner.shape[0] == inner.shape[1]
        and not any("_gn_" in name for name in state)
    )
