"""The registry of heads, with the config values that every head can use."""

from __future__ import annotations

from typing import Any

from retina_plugin.config.registry import Registry


def _prior_prob(cfg: Any) -> float | list[float]:
    """Return ``PRIOR_PROB``. If it is auto, return ``AUTO_PRIOR_BASE``.

    Training replaces auto by one prior per class before it builds the model.
    """
    prior, base = cfg.MODEL.RETINANET.PRIOR_PROB, cfg.MODEL.RETINA_PLUGIN.AUTO_PRIOR_BASE
    result: float | list[float] = base if prior == "auto" else prior
    return result


def _quality_branch(cfg: Any) -> bool:
    """Return whether the head has a quality branch."""
    found: str = cfg.MODEL.RETINA_PLUGIN.HEAD.QUALITY
    return found != "none"


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
        "quality_branch": _quality_branch,
        "prior_prob": _prior_prob,
    },
)
