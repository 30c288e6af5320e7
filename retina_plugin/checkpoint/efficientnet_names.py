"""Rename EfficientNet weights of the EfficientNet-PyTorch family to timm's names, by position.

The files of ``package://efficientnet_lite0`` are of this kind. Their parameters have the order of
timm's, so the i-th name of the file becomes the i-th name of timm's classifier. If a shape or the
last part of a name (``weight``, ``running_mean``, ...) differs, the file is refused.
"""

from __future__ import annotations

from retina_plugin.checkpoint.errors import WeightsError
from retina_plugin.checkpoint.torchvision_names import State
from retina_plugin.modeling.backbones.feature import WeightSource

MARKS = ("_conv_stem.weight", "_blocks.0._depthwise_conv.weight")
KEYS = (
    "MODEL.BACKBONE.NAME build_retina_timm_fpn_backbone and MODEL.RETINA_PLUGIN.TIMM.NAME, for "
    "example tf_efficientnet_lite0 for package://efficientnet_lite0"
)


def is_efficientnet(state: State) -> bool:
    """Return whether the parameters have the names of EfficientNet-PyTorch."""
    return all(name in state for name in MARKS)


def efficientnet_names(state: State, source: WeightSource | None, path: str) -> State:
    """Rename the parameters of a file to those of timm's classifier.

    Args:
        state: all parameters of the file, in its order.
        source: the timm model of which the detector's backbone is a part; None if the backbone is
            not from timm.
        path: the file, for messages.

    Raises:
        WeightsError: the backbone is not from timm, or a parameter differs in its kind or shape.
    """
    if source is None:
        raise WeightsError(
            f"{path} has the weights of an EfficientNet, but the model's backbone is not from "
            f"timm: set {KEYS}."
        )
    if len(state) != len(source.shapes):
        raise WeightsError(
            f"{path} has {len(state)} parameters, but the timm model has {len(source.shapes)}: "
            f"set {KEYS}."
        )
    for (theirs, value), (ours, shape) in zip(state.items(), source.shapes.items(), strict=True):
        same_kind = theirs.rpartition(".")[2] == ours.rpartition(".")[2]
        if not same_kind or tuple(value.shape) != shape:
            raise WeightsError(
                f"{path}: {theirs} {tuple(value.shape)} is in the position of timm's {ours} "
                f"{shape}, so the file is for another model: set {KEYS}."
            )
    return dict(zip(source.shapes, state.values(), strict=True))
