"""Detectron2's RetinaNet and this project's, from one config and with equal weights."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.config import get_cfg as detectron2_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from torch import nn

import retina_plugin
from retina_plugin.config import leaves
from retina_plugin.d2 import FocalRetinaNet

OURS = {
    "MODEL.META_ARCHITECTURE": "FocalRetinaNet",
    "MODEL.BACKBONE.NAME": "build_retina_resnet_fpn_backbone",
}
THEIRS = {
    "MODEL.META_ARCHITECTURE": "RetinaNet",
    "MODEL.BACKBONE.NAME": "build_retinanet_resnet_fpn_backbone",
}


def our_cfg(root: Any, **changes: Any) -> CfgNode:
    """The COCO config on the CPU; in the names of ``changes``, ``__`` stands for a dot."""
    cfg = retina_plugin.get_cfg()
    cfg.merge_from_file(str(root / "configs/coco/retinanet_R_50_FPN_1x.yaml"))
    for key, value in {
        "MODEL.DEVICE": "cpu",
        "MODEL.WEIGHTS": "",
        **{k.replace("__", "."): v for k, v in changes.items()},
    }.items():
        cfg.merge_from_list([key, value])
    return cfg


def their_cfg(ours: CfgNode) -> CfgNode:
    """The same values in Detectron2's config, with its names of model and backbone."""
    cfg = detectron2_cfg()
    known = {key for key, _ in leaves(cfg)}
    for key, value in leaves(ours):
        if key in known:
            cfg.merge_from_list([key, THEIRS.get(key, value)])
    return cfg


def pair(root: Any, **changes: Any) -> tuple[nn.Module, FocalRetinaNet]:
    """(Detectron2's RetinaNet, ours) with equal weights, scaled so that outputs are neither dead
    nor saturated."""
    ours = our_cfg(root, **changes)
    reference, own = build_model(their_cfg(ours)), build_model(ours)
    # The memory format decides which kernels run. With the same kernels only differences in the
    # computation remain.
    reference.to(memory_format=torch.channels_last)
    for name, buffer in reference.named_buffers():
        # FrozenBN is the identity at first, so activations would grow with every block.
        if name.endswith("conv3.norm.weight"):
            buffer.fill_(0.2)
    missing, surplus = own.load_state_dict(reference.state_dict(), strict=False)
    assert (missing, surplus) == (["loss_normalizer"], [])
    return reference, own


def batch(num_classes: int) -> list[dict[str, Any]]:
    """Three images of different sizes, the second one without boxes."""
    inputs = []
    for (height, width), boxes in (
        ((200, 300), [[10.0, 20, 110, 150], [50, 60, 90, 120], [200, 100, 216, 118]]),
        ((256, 190), []),
        ((190, 230), [[5.0, 5, 200, 180]]),
    ):
        instances = Instances((height, width))
        instances.gt_boxes = Boxes(torch.tensor(boxes).reshape(-1, 4))
        instances.gt_classes = torch.arange(len(boxes)) % num_classes
        inputs.append(
            {
                "image": torch.randint(0, 256, (3, height, width), dtype=torch.uint8),
                "instances": instances,
            }
        )
    return inputs
