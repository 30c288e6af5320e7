"""Rename the parameters of torchvision's ResNets and RetinaNets to Detectron2's names, and reorder
the outputs of the head.

Axes: A anchors per cell, K classes.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import Tensor

from retina_plugin.modeling.anchors import AnchorGenerator

State = dict[str, Tensor]

BOTTOM_UP = "backbone.bottom_up."
# torchvision's COCO models have 91 outputs, one for each category id from 0 to 90. These 80 ids are
# used.
COCO_IDS = [i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]


Replacement = str | Callable[[re.Match[str]], str]

# For conv1.weight, bn1.weight, layer1.0.conv1.weight, layer1.0.downsample.0.weight, ...
RESNET_NAMES: list[tuple[str, Replacement]] = [
    (r"^conv1\.", "stem.conv1."),
    (r"^bn1\.", "stem.conv1.norm."),
    (r"^layer(\d)\.", lambda found: f"res{int(found[1]) + 1}."),
    (r"\.bn(\d)\.", r".conv\1.norm."),
    (r"\.downsample\.0\.", ".shortcut."),
    (r"\.downsample\.1\.", ".shortcut.norm."),
]


RETINANET_NAMES: list[tuple[str, Replacement]] = [
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
    """Rename the parameters of a ResNet, with or without the prefix ``backbone.bottom_up.``; keep
    other names."""
    return {_resnet_name(name): value for name, value in state.items()}


def _resnet_name(name: str) -> str:
    prefix = BOTTOM_UP if name.startswith(BOTTOM_UP) else ""
    name = name.removeprefix(prefix)
    for pattern, replacement in RESNET_NAMES:
        name = re.sub(pattern, replacement, name)
    return prefix + name


def retinanet_names(state: State) -> State:
    """Rename the parameters of a RetinaNet except those inside its ResNet.

    Names of older torchvision versions, such as ``conv.0.weight`` for ``conv.0.0.weight``, are
    renamed as well. torchvision's convolutions in front of a norm have no bias. Detectron2's have
    one, which is set to zero.
    """
    normed = any(re.search(r"_head\.conv\.\d+\.1\.", name) for name in state)
    renamed = {_retinanet_name(name, normed): value for name, value in state.items()}
    for name, value in list(renamed.items()):
        if normed and re.search(r"_subnet\.\d+\.weight$", name) and value.dim() == 4:
            renamed.setdefault(name.replace(".weight", ".bias"), value.new_zeros(len(value)))
    return renamed


def _retinanet_name(name: str, normed: bool) -> str:
    layers = 3 if normed else 2  # convolution, norm if any, ReLU
    head = re.match(r"head\.(classification|regression)_head\.conv\.(\d+)\.(?:(\d)\.)?(\w+)$", name)
    if head:
        subnet = "cls_subnet" if head[1] == "classification" else "bbox_subnet"
        index = int(head[2]) if head[3] is None else layers * int(head[2]) + int(head[3])
        return f"head.{subnet}.{index}.{head[4]}"
    for pattern, replacement in RETINANET_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def reorder_head_outputs(
    state: State, model_state: State, anchors: AnchorGenerator | None
) -> State:
    """Reorder the output channels of torchvision's head for this project.

    torchvision orders the A anchors of a cell by aspect ratio, then by size; this project orders
    them by size, then by aspect ratio. torchvision's class 0 is the background, which this project
    leaves out.

    Args:
        state: parameters with Detectron2's names.
        model_state: parameters of the model.
        anchors: the model's anchors; None if the model is not a RetinaNet of this project.

    Returns:
        The parameters; ``state`` itself if its head does not match the model's.
    """
    if anchors is None or not _same_head(state, model_state, anchors.num_anchors):
        return state
    state, order = dict(state), torchvision_indices(anchors)
    found, wanted = (
        len(names["head.cls_score.bias"]) // anchors.num_anchors for names in (state, model_state)
    )
    classes = _class_indices(found, wanted)
    for kind in ("weight", "bias"):
        for layer, rows in (("bbox_pred", list(range(4))), ("cls_score", classes)):
            value = state[f"head.{layer}.{kind}"]
            outputs = value.reshape(
                anchors.num_anchors, len(value) // anchors.num_anchors, *value.shape[1:]
            )
            state[f"head.{layer}.{kind}"] = outputs[order][:, rows].flatten(0, 1)
    return state


def _same_head(state: State, model_state: State, num_anchors: int) -> bool:
    """Return whether the output layers of two heads have the same shapes except for the number of
    classes."""
    outputs = [
        f"head.{layer}.{kind}"
        for layer in ("bbox_pred", "cls_score")
        for kind in ("weight", "bias")
    ]
    if not all(name in names for name in outputs for names in (state, model_state)):
        return False
    *boxes, weight, bias = (state[name] for name in outputs)
    return (
        all(box.shape == model_state[name].shape for box, name in zip(boxes, outputs, strict=False))
        and weight.shape[1:] == model_state["head.cls_score.weight"].shape[1:]
        and bias.shape == weight.shape[:1]
        and len(bias) > 0
        and len(bias) % num_anchors == 0
    )


def torchvision_indices(anchors: AnchorGenerator) -> Tensor:
    """Return (A,) int64: for each anchor of a cell, its index in torchvision's order."""
    cells = anchors.get_buffer("cells")
    width, height = (cells[0, :, 2:] - cells[0, :, :2]).unbind(dim=1)
    num_ratios = len(set((height / width).mul(1000).round().tolist()))
    return torch.arange(anchors.num_anchors).view(num_ratios, -1).t().flatten()


def _class_indices(found: int, wanted: int) -> list[int]:
    """Return the indices of the file's classes that the model uses. If the file has one class more
    than the model, class 0 is the background."""
    if (found, wanted) == (91, 80):
        return COCO_IDS
    return list(range(1, found)) if found == wanted + 1 else list(range(found))
