"""Small trained-looking models, and files that are exported from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from retina_plugin.export.write import export_model
from retina_plugin.modeling.build import build_model
from retina_plugin.modeling.retinanet import RetinaNet
from tests.models import compact_cfg

NAMES = ["cat", "guinea pig", "dog"]
THRESHOLDS = {"cat": 0.25}
ENDINGS = {"onnx": ".onnx", "torch": ".pt2", "torchscript": ".pt", "openvino": ".xml"}
TINY = {
    "MODEL__RESNETS__STEM_OUT_CHANNELS": 8,
    "MODEL__RESNETS__RES2_OUT_CHANNELS": 8,
    "MODEL__FPN__OUT_CHANNELS": 16,
    "MODEL__RETINANET__NUM_CONVS": 1,
    "MODEL__RETINANET__SCORE_THRESH_TEST": 0.02,
    "INPUT__MIN_SIZE_TEST": 64,
    "INPUT__MAX_SIZE_TEST": 96,
}


def tiny_model(**changes: Any) -> tuple[RetinaNet, Any]:
    """A model with varied scores and boxes, and its config."""
    torch.manual_seed(0)
    cfg = compact_cfg(**{**TINY, **changes})
    model = build_model(cfg).eval()
    with torch.no_grad():
        batch, _ = model.preprocess([model.preprocessor.from_file(photos()[0])])
        found, _ = model.predict_dense(batch)
        model.head.cls_score.weight.mul_(1.5 / found.logits.std())
        model.head.bbox_pred.weight.mul_(0.3 / found.deltas.std())
    return model, cfg


def export(
    folder: Path, format: str, outputs: str = "boxes", *, size: Any = None, **changes: Any
) -> tuple[RetinaNet, str]:
    """Export a tiny model; return it and the path of the file."""
    model, cfg = tiny_model(**changes)
    path = str(folder / f"model{ENDINGS[format]}")
    if outputs == "detections" and size is None:
        size = (64, 96)
    export_model(
        model,
        cfg,
        path,
        format=format,
        class_names=NAMES,
        score_thresholds=THRESHOLDS,
        outputs=outputs,
        size=size,
    )
    return model, path


def photos() -> list[torch.Tensor]:
    """Four RGB images of three sizes; at the network's input, two of them have the same size."""
    torch.manual_seed(1)
    sizes = [(64, 96), (80, 70), (40, 40), (128, 192)]
    coarse = [torch.rand(1, 3, 6, 6) for _ in sizes]
    return [
        torch.nn.functional.interpolate(x, size=size, mode="bilinear")[0].mul(255).byte()
        for x, size in zip(coarse, sizes, strict=True)
    ]
