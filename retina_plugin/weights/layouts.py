"""Other programs' names of parameters, turned into Detectron2's, which are this project's.

Axes: A anchors per cell, K classes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from retina_plugin.anchors import AnchorGenerator

State = dict[str, Tensor]

BOTTOM_UP = "backbone.bottom_up."
# Categories of COCO among the 91 that its ids span and torchvision's models have outputs for.
COCO_IDS = [i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]


@dataclass(frozen=True)
class Inputs:
    """What the weights were trained on. None: not known."""

    input_format: str
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...] | None = None
    stride_in_1x1: bool | None = None


MSRA = Inputs("BGR", (103.53, 116.28, 123.675), (1.0, 1.0, 1.0), True)
CAFFE2 = Inputs("BGR", (103.53, 116.28, 123.675))
TORCHVISION = Inputs("RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), False)


@dataclass(frozen=True)
class Layout:
    """What a file turned out to be."""

    title: str
    state: State  # in Detectron2's names, those of a bare backbone perhaps without "backbone.bottom_up."
    inputs: Inputs | None = None


def translate(state: State, author: str, *, own: State, anchors: AnchorGenerator | None) -> Layout:
    """Find out whose names a file has and turn them into Detectron2's.

    Args:
        state: as read.
        author: what the file says of its origin; may be "".
        own: the model's parameters; a backbone that has torchvision's names itself keeps them.
        anchors: of the model; None for one that is no RetinaNet of this project.
    """
    if any(name.startswith("backbone.body.") for name in state):
        renamed = resnet_names(retinanet_names(state), own)
        return Layout("torchvision RetinaNet", torchvision_outputs(renamed, own, anchors), TORCHVISION)
    if any(CAFFE2_NAME.match(name) for name in state):
        return Layout("Caffe2 names", caffe2_names(state), MSRA if _is_msra(state) else CAFFE2)
    if "layer1.0.conv1.weight" in state:
        return Layout("torchvision ResNet", resnet_names(state, own), TORCHVISION)
    inputs = {"torchvision": TORCHVISION, "Detectron2 Model Zoo": MSRA}.get(author)
    return Layout(author or "Detectron2's names", state, inputs)


# --- Caffe2: conv1_w, res_conv1_bn_s, res2_0_branch2a_w, ...

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


def caffe2_names(state: State) -> State:
    """Those of a ResNet; names of anything else stay."""
    return {_caffe2_name(name): value for name, value in state.items() if not name.endswith("_momentum")}


def _caffe2_name(name: str) -> str:
    found = CAFFE2_NAME.match(name)
    if not found:
        return name
    place = "stem.conv1" if found["stem"] else f"res{found['stage']}.{found['block']}.{BRANCHES[found['branch']]}"
    return f"{place}{'.norm' if found['norm'] else ''}.{KINDS.get(found['kind'], found['kind'])}"


def _is_msra(state: State) -> bool:
    """The original ResNets, and not the later ones with group norm or with groups of channels."""
    inner = state.get("res2_0_branch2b_w")
    return inner is not None and inner.shape[0] == inner.shape[1] and not any("_gn_" in name for name in state)


# --- torchvision: conv1.weight, bn1.weight, layer1.0.conv1.weight, layer1.0.downsample.0.weight, ...

RESNET_NAMES = [
    (r"^conv1\.", "stem.conv1."),
    (r"^bn1\.", "stem.conv1.norm."),
    (r"^layer(\d)\.", lambda found: f"res{int(found[1]) + 1}."),
    (r"\.bn(\d)\.", r".conv\1.norm."),
    (r"\.downsample\.0\.", ".shortcut."),
    (r"\.downsample\.1\.", ".shortcut.norm."),
]


def resnet_names(state: State, own: Iterable[str]) -> State:
    """torchvision's ResNet names, bare or below ``backbone.bottom_up.``, unless the model's backbone uses these names too, as timm's do."""
    if any("layer1." in name for name in own):
        return state
    return {_substitute(name, RESNET_NAMES, below=BOTTOM_UP): value for name, value in state.items()}


def _substitute(name: str, pairs: list[tuple[str, str | Callable]], *, below: str = "") -> str:
    prefix = below if name.startswith(below) else ""
    if not prefix and name.startswith(("backbone.", "head.")):
        return name
    rest = name.removeprefix(prefix)
    for pattern, replacement in pairs:
        rest = re.sub(pattern, replacement, rest)
    return prefix + rest


def retinanet_names(state: State) -> State:
    """Names of torchvision's detector around its ResNet, those of its first versions too, where a number is missing.

    Its convolutions before a norm have no bias; Detectron2's have one, which becomes zero.
    """
    normed = any(re.search(r"_head\.conv\.\d+\.1\.", name) for name in state)
    renamed = {_retinanet_name(name, normed): value for name, value in state.items()}
    for name, value in list(renamed.items()):
        if normed and re.search(r"_subnet\.\d+\.weight$", name) and value.dim() == 4:
            renamed.setdefault(name.replace(".weight", ".bias"), value.new_zeros(len(value)))
    return renamed


def _retinanet_name(name: str, normed: bool) -> str:
    layers = 3 if normed else 2  # convolution, norm, ReLU
    head = re.match(r"head\.(classification|regression)_head\.conv\.(\d+)\.(?:(\d)\.)?(\w+)$", name)
    if head:
        subnet = "cls_subnet" if head[1] == "classification" else "bbox_subnet"
        index = int(head[2]) if head[3] is None else layers * int(head[2]) + int(head[3])
        return f"head.{subnet}.{index}.{head[4]}"
    for pattern, replacement in (
        (r"^backbone\.body\.", BOTTOM_UP),
        (r"^backbone\.fpn\.inner_blocks\.(\d)\.(?:0\.)?", lambda found: f"backbone.fpn_lateral{int(found[1]) + 3}."),
        (r"^backbone\.fpn\.layer_blocks\.(\d)\.(?:0\.)?", lambda found: f"backbone.fpn_output{int(found[1]) + 3}."),
        (r"^backbone\.fpn\.extra_blocks\.", "backbone.top_block."),
        (r"^head\.classification_head\.cls_logits\.", "head.cls_score."),
        (r"^head\.regression_head\.bbox_reg\.", "head.bbox_pred."),
    ):
        name = re.sub(pattern, replacement, name)
    return name


def torchvision_outputs(state: State, own: State, anchors: AnchorGenerator | None) -> State:
    """Put the outputs of torchvision's head in the order of this project's: anchors by size, then ratio; classes without background.

    torchvision orders the anchors of a cell by ratio, then size.
    """
    state = dict(state)
    if anchors is None or "head.bbox_pred.bias" not in state or "head.cls_score.bias" not in state:
        return state
    num_anchors = len(state["head.bbox_pred.bias"]) // 4
    order = _size_major(anchors) if num_anchors == anchors.num_anchors else torch.arange(num_anchors)
    classes = _classes(len(state["head.cls_score.bias"]) // num_anchors, len(own["head.cls_score.bias"]) // num_anchors)
    for kind in ("weight", "bias"):
        for layer, rows in (("bbox_pred", list(range(4))), ("cls_score", classes)):
            outputs = state[f"head.{layer}.{kind}"].unflatten(0, (num_anchors, -1))
            state[f"head.{layer}.{kind}"] = outputs[order][:, rows].flatten(0, 1)
    return state


def _size_major(anchors: AnchorGenerator) -> Tensor:
    """(A,) where each of our anchors stands in torchvision's order."""
    width, height = (anchors.cells[0, :, 2:] - anchors.cells[0, :, :2]).unbind(dim=1)
    num_ratios = len((height / width).mul(1000).round().unique())
    return torch.arange(anchors.num_anchors).view(num_ratios, -1).t().flatten()


def _classes(found: int, wanted: int) -> list[int]:
    """Which of the file's classes the model takes. torchvision counts a background at 0, which is never the class of a box."""
    if (found, wanted) == (91, 80):
        return COCO_IDS
    return list(range(1, found)) if found == wanted + 1 else list(range(found))
