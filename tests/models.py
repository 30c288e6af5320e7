"""Small models with the structure of the real ones."""

from __future__ import annotations

from typing import Any

from retina_plugin import config
from retina_plugin.modeling.build import build_model
from retina_plugin.modeling.retinanet import RetinaNet

COMPACT = {
    "MODEL.DEVICE": "cpu",
    "MODEL.WEIGHTS": "",
    "MODEL.META_ARCHITECTURE": "FocalRetinaNet",
    "MODEL.BACKBONE.NAME": "build_retina_resnet_fpn_backbone",
    "MODEL.BACKBONE.FREEZE_AT": 0,
    "MODEL.RESNETS.DEPTH": 18,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 16,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 16,
    "MODEL.RESNETS.NORM": "GN",
    "MODEL.RETINA_PLUGIN.NORM_GROUPS": 8,
    "MODEL.RESNETS.OUT_FEATURES": ["res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"],
    "MODEL.FPN.OUT_CHANNELS": 32,
    "MODEL.RETINANET.NUM_CLASSES": 3,
    "MODEL.RETINANET.NUM_CONVS": 2,
    "MODEL.ANCHOR_GENERATOR.SIZES": [[16, 24], [32, 48], [64, 96], [128, 192], [256, 384]],
    "INPUT.MIN_SIZE_TEST": 0,
}


def compact_cfg(**changes: Any) -> config.CfgNode:
    """The config of a small RetinaNet; in the names of ``changes``, ``__`` stands for a dot."""
    cfg = config.get_cfg()
    for key, value in {**COMPACT, **{k.replace("__", "."): v for k, v in changes.items()}}.items():
        cfg.merge_from_list([key, value])
    return cfg


def compact_model(**changes: Any) -> RetinaNet:
    """The model of :func:`compact_cfg`."""
    return build_model(compact_cfg(**changes))
