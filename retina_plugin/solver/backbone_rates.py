"""Lower learning rates for a backbone that starts from pretrained weights.

``BACKBONE_LR_FACTOR`` is the rate of the backbone divided by the rate of pyramid and head.
``LAYER_DECAY`` makes the rate of each stage smaller than the rate of the next one. Stage s of the S
stages, from 1 on, has the factor ``BACKBONE_LR_FACTOR * LAYER_DECAY ** (S - s)``. With
``LAYER_DECAY`` below 1, early layers, which respond to edges and colours, change less than late
ones (arXiv 1801.06146, 2106.08254).
"""

from __future__ import annotations

from typing import Any

from torch import nn

from retina_plugin.modeling.backbones.feature import Backbone, child_stages


def backbone_lr_factors(model: nn.Module, node: Any) -> dict[nn.Parameter, float]:
    """Return the factor of the learning rate of each parameter of the backbone.

    The backbone is ``model.backbone.bottom_up``, or ``model.backbone`` if it has no pyramid. Its
    stages are those of :meth:`retina_plugin.modeling.backbones.Backbone.stages`; in a backbone of
    Detectron2 each child module is a stage.

    Args:
        model: a detector.
        node: ``MODEL.RETINA_PLUGIN.SOLVER`` of a config.

    Returns:
        Parameter -> factor; empty if all factors are 1.

    Raises:
        ValueError: a key is not 1, and the model has no backbone.
    """
    if node.BACKBONE_LR_FACTOR == node.LAYER_DECAY == 1:
        return {}
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, nn.Module):
        raise ValueError(
            "MODEL.RETINA_PLUGIN.SOLVER.BACKBONE_LR_FACTOR and LAYER_DECAY must be 1 for a "
            f"{type(model).__name__}, which has no module called backbone"
        )
    bottom_up = getattr(backbone, "bottom_up", backbone)
    if node.LAYER_DECAY == 1:
        return dict.fromkeys(bottom_up.parameters(), node.BACKBONE_LR_FACTOR)
    stages = bottom_up.stages() if isinstance(bottom_up, Backbone) else child_stages(bottom_up)
    return {
        parameter: node.BACKBONE_LR_FACTOR * node.LAYER_DECAY**remaining
        for remaining, stage in enumerate(reversed(stages))
        for parameter in stage
    }
