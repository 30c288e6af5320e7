"""Rename the parameters of MMDetection's RetinaNet, ATSS and GFL to Detectron2's names, and reorder
the outputs of the head.

Axes: A anchors per cell, L levels.
"""

from __future__ import annotations

import re

import torch

from retina_plugin.checkpoint.torchvision_names import (
    BOTTOM_UP,
    State,
    resnet_names,
    torchvision_indices,
)
from retina_plugin.modeling.anchors import AnchorGenerator

HEAD_LAYERS = {"cls": "cls_score", "reg": "bbox_pred", "centerness": "quality_pred"}


def is_mmdet(state: State) -> bool:
    """Return whether these are the names of a one-stage detector of MMDetection."""
    return any(re.match(r"bbox_head\.(retina|atss|gfl)_cls\.", name) for name in state)


def mmdet_names(state: State, model_state: State, anchors: AnchorGenerator | None) -> State:
    """Rename the parameters and reorder the outputs of the head.

    MMDetection's convolutions in front of a norm have no bias. Detectron2's have one, which is set
    to zero. MMDetection orders the A anchors of a cell by aspect ratio, then by size; this project
    orders them by size, then by aspect ratio.

    Args:
        state: parameters of the checkpoint.
        model_state: parameters of the model.
        anchors: the model's anchors; None if the model is not a RetinaNet of this project.
    """
    laterals = sum(bool(re.match(r"neck\.lateral_convs\.\d+\.conv\.weight", n)) for n in state)
    normed = any(re.match(r"bbox_head\.\w+_convs\.\d+\.(gn|bn)\.", name) for name in state)
    renamed = {
        _name(name, laterals=laterals, layers=3 if normed else 2): value
        for name, value in state.items()
        if not re.match(r"bbox_head\.(integral\.|scales\.)", name)
    }
    for name, value in list(renamed.items()):
        if normed and re.search(r"_subnet\.\d+\.weight$", name) and value.dim() == 4:
            renamed.setdefault(name.replace(".weight", ".bias"), value.new_zeros(len(value)))
    scales = [name for name in state if re.fullmatch(r"bbox_head\.scales\.\d+\.scale", name)]
    if scales:
        ordered = sorted(scales, key=lambda name: int(name.split(".")[2]))
        renamed["head.bbox_scales"] = torch.stack([state[name].reshape(()) for name in ordered])
    return _reordered(resnet_names(renamed), model_state, anchors)


def _name(name: str, *, laterals: int, layers: int) -> str:
    """Rename one parameter, except inside the ResNet.

    Args:
        name: the name in the file.
        laterals: number of maps that the pyramid takes from the backbone; the first is C3. The
            other levels are computed by convolutions of stride 2.
        layers: number of layers for each convolution of a subnet: the convolution, the norm if
            there is one, and the ReLU.
    """
    pyramid = re.match(r"neck\.(lateral|fpn)_convs\.(\d+)\.conv\.(\w+)$", name)
    if pyramid:
        level = int(pyramid[2]) + 3
        if int(pyramid[2]) >= laterals:
            return f"backbone.top_block.p{level}.{pyramid[3]}"
        part = "lateral" if pyramid[1] == "lateral" else "output"
        return f"backbone.fpn_{part}{level}.{pyramid[3]}"
    subnet = re.match(r"bbox_head\.(cls|reg)_convs\.(\d+)\.(conv|gn|bn)\.(\w+)$", name)
    if subnet:
        part = "cls_subnet" if subnet[1] == "cls" else "bbox_subnet"
        index = layers * int(subnet[2]) + (subnet[3] != "conv")
        return f"head.{part}.{index}.{subnet[4]}"
    output = re.match(r"bbox_head\.(?:retina|atss|gfl)_(cls|reg|centerness)\.(\w+)$", name)
    if output:
        return f"head.{HEAD_LAYERS[output[1]]}.{output[2]}"
    return re.sub(r"^backbone\.", BOTTOM_UP, name)


def _reordered(state: State, model_state: State, anchors: AnchorGenerator | None) -> State:
    """Reorder the anchors of the output layers.

    Returns:
        ``state`` itself if file and model have different numbers of anchors, or one per cell.
    """
    boxes = "head.bbox_pred.bias"
    same = (
        boxes in state and boxes in model_state and state[boxes].shape == model_state[boxes].shape
    )
    if anchors is None or anchors.num_anchors == 1 or not same:
        return state
    order = torchvision_indices(anchors)
    reordered = dict(state)
    for name, value in state.items():
        if re.match(r"head\.(cls_score|bbox_pred|quality_pred)\.", name):
            outputs = value.reshape(anchors.num_anchors, -1, *value.shape[1:])
            reordered[name] = outputs[order].flatten(0, 1)
    return reordered
