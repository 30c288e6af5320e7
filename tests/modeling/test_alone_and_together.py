"""An image has the same detections alone and in a batch. Padding would change what a network
computes."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from retina_plugin.modeling.build import build_model
from retina_plugin.modeling.build_backbone import set_timm_pixel_constants
from retina_plugin.modeling.preprocessing import group_by_padded_size, padded_size
from retina_plugin.modeling.retinanet import RetinaNet
from tests.models import compact_cfg

pytestmark = pytest.mark.slow

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)
TIMM = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="needs timm")
# two pairs have the same padded size
SHAPES = [(60, 50), (64, 64), (20, 130), (90, 33), (61, 40), (64, 128)]
NORMS = ["FrozenBN", "BN", "GN", ""]
SMALL = {
    "MODEL__RESNETS__STEM_OUT_CHANNELS": 8,
    "MODEL__RESNETS__RES2_OUT_CHANNELS": 8,
    "MODEL__FPN__OUT_CHANNELS": 16,
    "MODEL__RETINANET__NUM_CONVS": 1,
    "MODEL__RETINANET__SCORE_THRESH_TEST": 0.6,
    "MODEL__RETINA_PLUGIN__NECK__REPEATS": 1,
}


def scattered(model: RetinaNet) -> RetinaNet:
    """A model whose scores and boxes vary over the image, with random norms and biases."""
    for name, tensor in model.named_parameters():
        if name.endswith("bias"):
            tensor.data.normal_(std=0.2)
    for module in model.modules():
        if hasattr(module, "running_var"):
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.5, 1.5)
    outputs = []
    hook = model.head.register_forward_hook(lambda module, inputs, output: outputs.extend(output))
    model.eval().predict([torch.randint(0, 256, (3, 128, 128))])
    hook.remove()
    logits, deltas, _ = outputs
    for layer, values in ((model.head.cls_score, logits), (model.head.bbox_pred, deltas)):
        std, mean = torch.std_mean(values)
        layer.weight.data /= std
        layer.bias.data = (layer.bias.data - mean) / std
    return model


def images() -> list[torch.Tensor]:
    return [torch.randint(0, 256, (3, *shape), dtype=torch.uint8) for shape in SHAPES]


def assert_alone(
    together: list[dict[str, torch.Tensor]], alone: list[dict[str, torch.Tensor]]
) -> None:
    assert len(together) == len(alone) == len(SHAPES)
    assert sum(len(found["scores"]) for found in alone) > 20
    assert_close(together, alone, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("neck", ["fpn", "pafpn", "bifpn"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("backbone", ["resnet", pytest.param("timm", marks=TIMM)])
def test_predict(backbone: str, norm: str, neck: str) -> None:
    changes = {
        "MODEL__RESNETS__NORM": norm,
        "MODEL__FPN__NORM": norm,
        "MODEL__RETINANET__NORM": norm,
    }
    if norm == "FrozenBN":
        changes["MODEL__RETINANET__NORM"] = ""
    name = {"MODEL__BACKBONE__NAME": f"build_retina_{backbone}_{neck}_backbone"}
    if backbone == "timm":
        name |= {"MODEL__RETINA_PLUGIN__TIMM__NAME": "mobilenetv3_small_050"}
    cfg = compact_cfg(**SMALL, **changes, **name)
    set_timm_pixel_constants(cfg)
    model = scattered(build_model(cfg))
    batch = images()
    assert_alone(model.predict(batch), [model.predict([image])[0] for image in batch])


@pytest.mark.parametrize("host", HOSTS)
def test_evaluation(host: str) -> None:
    """Evaluation on each host with batches of several images."""
    cfg = compact_cfg(**SMALL, MODEL__FPN__NORM="GN", MODEL__RETINANET__NORM="GN")
    batch = images()
    together, alone = HOST_MODELS[host](cfg)(batch)
    assert_alone(together, alone)


def on_lightning(cfg: Any) -> Any:
    model = scattered(build_model(cfg))

    @torch.no_grad()
    def detect(batch: list[torch.Tensor]) -> tuple[list, list]:
        return model.detect_images(batch), [model.detect_images([image])[0] for image in batch]

    return detect


def on_detectron2(cfg: Any) -> Any:
    from detectron2.modeling import build_model as build_detectron2_model

    from retina_plugin.d2 import get_cfg

    host_cfg = get_cfg()
    for key in ("MODEL", "INPUT"):
        merge(host_cfg[key], cfg[key])
    model = scattered(build_detectron2_model(host_cfg))

    def fields(result: dict[str, Any]) -> dict[str, torch.Tensor]:
        found = result["instances"]
        return {
            "boxes": found.pred_boxes.tensor,
            "scores": found.scores,
            "labels": found.pred_classes,
        }

    @torch.no_grad()
    def detect(batch: list[torch.Tensor]) -> tuple[list, list]:
        inputs = [{"image": image} for image in batch]
        assert_close(
            model.predict(batch),
            [model.predict([image])[0] for image in batch],
            rtol=1e-4,
            atol=1e-3,
        )
        return [*map(fields, model(inputs))], [fields(model([one])[0]) for one in inputs]

    return detect


def merge(node: Any, other: Any) -> None:
    for name, value in other.items():
        if isinstance(value, type(other)):
            merge(node[name], value)
        else:
            node[name] = value


HOST_MODELS = {"lightning": on_lightning, "detectron2": on_detectron2}


def test_padded_size() -> None:
    assert padded_size([(60, 50), (20, 130)], 32) == (64, 160)
    assert padded_size([(60, 50)], 0) == (60, 50)


def test_groups() -> None:
    assert group_by_padded_size(SHAPES, 32) == [[0, 1, 4], [2], [3], [5]]
    assert group_by_padded_size(SHAPES[:2], 0) == [[0], [1]]
    assert group_by_padded_size([], 32) == []
