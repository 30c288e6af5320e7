"""The registry of heads, and what every head can take from a config."""

from __future__ import annotations

from typing import Any

from retina_plugin.config.registry import Registry


def _prior_prob(cfg: Any) -> float | list[float]:
    """``PRIOR_PROB``; a run turns auto into numbers before it builds the model."""
    prior = cfg.MODEL.RETINANET.PRIOR_PROB
    return cfg.MODEL.RETINA_PLUGIN.AUTO_PRIOR_BASE if prior == "auto" else prior


RETINA_HEAD_REGISTRY = Registry(
    "head",
    node="MODEL.RETINA_PLUGIN.HEAD",
    runtime_arguments=("in_channels", "num_levels", "num_classes", "num_anchors", "box_dim"),
    config_arguments={
        "num_convs": "MODEL.RETINANET.NUM_CONVS",
        "norm": "MODEL.RETINANET.NORM",
        "norm_groups": "MODEL.RETINA_PLUGIN.NORM_GROUPS",
        "width": "MODEL.RETINA_PLUGIN.HEAD.WIDTH",
        "activation": "MODEL.RETINA_PLUGIN.HEAD.ACTIVATION",
        "separable": "MODEL.RETINA_PLUGIN.HEAD.SEPARABLE",
        "level_scale": "MODEL.RETINA_PLUGIN.HEAD.LEVEL_SCALE",
        "prior_prob": _prior_prob,
    },
)
