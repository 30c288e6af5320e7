"""torchvision's ResNets and RetinaNets in Detectron2's names, with the outputs of the head in this
project's order.

Axes: A anchors per cell, K classes.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from retina_plugin.modeling.anchors import AnchorGenerator

State = dict[str, Tensor]

BOTTOM_UP = "backbone.bottom_up."
# Categories of COCO among the 91 that its ids span and torchvision's models have outputs for.
COCO_IDS = [i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]


# conv1.weight, bn1.weight, layer1.0.conv1.weight, layer1.0.downsample.0.weight, ...
RESNET_NAMES = [
    (r"^conv1\.", "stem.conv1."),
    (r"^bn1\.", "stem.conv1.norm."),
    (r"^layer(\d)\.", lambda found: f"res{int(found[1]) + 1}."),
    (r"\.bn(\d)\.", r".conv\1.norm."),
    (r"\.downsample\.0\.", ".shortcut."),
    (r"\.downsample\.1\.", ".shortcut.norm."),
]


RETINANET_NAMES = [
    (r"^backbone\.body\.", BOTTOM_UP),
    (
        r"^backbone\.fpn\.inner_blocks\.(\d)\.(?:0\.)?",
        lambda found: f"backbone.fpn_lateral{int(found[1]) + 3}.",
    ),
    (
        r"^backbone\.fpn\.layer_blocks\.(\d)\.(?:0\.)?",
        lambda found: f"backbone.fpn_output{int(found[1]) + 3}.",
    ),
    (r"^backbone\.fpn\.extra_blocks\.", "backbone.top_block."),
    (r"^head\.classification_head\.cls_logits\.", "head.cls_score."),
    (r"^head\.regression_head\.bbox_reg\.", "head.bbox_pred."),
]


def resnet_names(state: State) -> State:
    """torchvision's names of a ResNet, bare or below ``backbone.bottom_up.``; others stay."""
    return {_resnet_name(name): value for name, value in state.items()}


def _resnet_name(name: str) -> str:
    prefix = BOTTOM_UP if name.startswith(BOTTOM_UP) else ""
    name = name.removeprefix(prefix)
    for pattern, replacement in RESNET_NAMES:
        name = re.sub(pattern, replacement, name)
    return prefix + name


def retinanet_names(state: State) -> State:
    """Names of torchvision's detector around its ResNet, those of its first versions too, where a
    number is missing.

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
    for pattern, replacement in RETINANET_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def reorder_head_outputs(state: State, own: State, anchors: AnchorGenerator | None) -> State:
    """Put the outputs of torchvision's head in the order of this project's: anchors by size, then
    ratio; classes without background.

    torchvision orders the anchors of a cell by ratio, then size.
    """
    if anchors is None or not _same_head(state, own, anchors.num_anchors):
        return state
    state, order = dict(state), _size_major(anchors)
    theirs, ours = (
        len(names["head.cls_score.bias"]) // anchors.num_anchors for names in (state, own)
    )
    for kind in ("weight", "bias"):
        for layer, rows in (("bbox_pred", list(range(4))), ("cls_score", _classes(theirs, ours))):
            outputs = state[f"head.{layer}.{kind}"].unflatten(0, (anchors.num_anchors, -1))
            state[f"head.{layer}.{kind}"] = outputs[order][:, rows].flatten(0, 1)
    return state


def _same_head(state: State, own: State, num_anchors: int) -> bool:
    """Whether two heads have the same outputs but for the number of classes; where they have not,
    the comparison with the model tells."""
    outputs = [
        f"head.{layer}.{kind}"
        for layer in ("bbox_pred", "cls_score")
        for kind in ("weight", "bias")
    ]
    if not all(name in names for name in outputs for names in (state, own)):
        return False
    *boxes, weight, bias = (state[name] for name in outputs)
    return (
        all(box.shape == own[name].shape for box, name in zip(boxes, outputs, strict=False))
        and weight.shape[1:] == own["head.cls_score.weight"].shape[1:]
        and bias.shape == weight.shape[:1]
        and len(bias) > 0
        and len(bias) % num_anchors == 0
    )


def _size_major(anchors: AnchorGenerator) -> Tensor:
    """(A,) where each of our anchors stands in torchvision's order."""
    width, height = (anchors.cells[0, :, 2:] - anchors.cells[0, :, :2]).unbind(dim=1)
    num_ratios = len((height / width).mul(1000).round().unique())
    return torch.arange(anchors.num_anchors).view(num_ratios, -1).t().flatten()


def _classes(found: int, wanted: int) -> list[int]:
    """Which of the file's classes the model takes. torchvision counts a background at 0, which is
    never the class of a box."""
    if (found, wanted) == (91, 80):
        return COCO_IDS
    return list(range(1, found)) if found == wanted + 1 else list(range(found))
