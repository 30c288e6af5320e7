"""Packaged configs for tests, with few channels and small images but the same structure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from retina_plugin.modeling.build_backbone import set_timm_pixel_constants
from tests.conftest import ROOT

CONFIGS = sorted(
    str(path.relative_to(ROOT / "configs")) for path in (ROOT / "configs").rglob("retinanet_*.yaml")
)
NARROW = {
    "MODEL.DEVICE": "cpu",
    "MODEL.WEIGHTS": "",
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 8,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 16,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 4,
    "MODEL.FPN.OUT_CHANNELS": 16,
    "MODEL.RETINA_PLUGIN.NORM_GROUPS": 4,
    "MODEL.RETINANET.NUM_CLASSES": 3,
    "MODEL.RETINANET.SCORE_THRESH_TEST": 0.0,
}


def shrink(cfg: Any, name: str) -> Any:
    """Merge the config ``name`` into ``cfg`` and reduce its numbers of channels."""
    cfg.merge_from_file(str(Path(ROOT) / "configs" / name))
    for key, value in NARROW.items():
        cfg.merge_from_list([key, value])
    set_timm_pixel_constants(cfg)
    return cfg


def tame(model: nn.Module) -> nn.Module:
    """Scale down the residual branches of R-101.

    Without pretrained weights FrozenBN is the identity, so activations would grow with every block.
    """
    for name, buffer in model.named_buffers():
        if name.endswith("conv3.norm.weight"):
            buffer.fill_(0.2)
    return model


def scene() -> dict[str, torch.Tensor]:
    """A sample: an image of noise and two boxes of two classes."""
    boxes = torch.tensor([[4.0, 6, 40, 44], [20, 10, 62, 60]])
    return {
        "image": torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8),
        "boxes": boxes,
        "labels": torch.tensor([0, 2]),
    }
