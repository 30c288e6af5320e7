"""Names of MMDetection's RetinaNet, ATSS and GFL. ``tests/modeling/test_mmdet.py`` compares whole
models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from retina_plugin.checkpoint import WeightsError, load_weights
from retina_plugin.checkpoint.mmdet_names import mmdet_names
from retina_plugin.modeling.anchors import AnchorGenerator
from tests.models import compact_model

NAMES = {
    "backbone.conv1.weight": "backbone.bottom_up.stem.conv1.weight",
    "backbone.bn1.running_mean": "backbone.bottom_up.stem.conv1.norm.running_mean",
    "backbone.layer1.0.conv1.weight": "backbone.bottom_up.res2.0.conv1.weight",
    "backbone.layer4.2.bn3.bias": "backbone.bottom_up.res5.2.conv3.norm.bias",
    "backbone.layer2.0.downsample.0.weight": "backbone.bottom_up.res3.0.shortcut.weight",
    "neck.lateral_convs.0.conv.weight": "backbone.fpn_lateral3.weight",
    "neck.lateral_convs.1.conv.weight": "backbone.fpn_lateral4.weight",
    "neck.lateral_convs.2.conv.weight": "backbone.fpn_lateral5.weight",
    "neck.fpn_convs.0.conv.bias": "backbone.fpn_output3.bias",
    "neck.fpn_convs.3.conv.bias": "backbone.top_block.p6.bias",
    "neck.fpn_convs.4.conv.weight": "backbone.top_block.p7.weight",
}
RETINA = {
    "bbox_head.cls_convs.0.conv.weight": "head.cls_subnet.0.weight",
    "bbox_head.reg_convs.3.conv.bias": "head.bbox_subnet.6.bias",
    "bbox_head.retina_cls.weight": "head.cls_score.weight",
    "bbox_head.retina_reg.bias": "head.bbox_pred.bias",
}
ATSS = {
    "bbox_head.cls_convs.0.conv.weight": "head.cls_subnet.0.weight",
    "bbox_head.cls_convs.1.gn.weight": "head.cls_subnet.4.weight",
    "bbox_head.reg_convs.3.conv.weight": "head.bbox_subnet.9.weight",
    "bbox_head.atss_cls.bias": "head.cls_score.bias",
    "bbox_head.atss_reg.weight": "head.bbox_pred.weight",
    "bbox_head.atss_centerness.weight": "head.quality_pred.weight",
}
GFL = {
    "bbox_head.reg_convs.0.gn.bias": "head.bbox_subnet.1.bias",
    "bbox_head.gfl_cls.bias": "head.cls_score.bias",
    "bbox_head.gfl_reg.weight": "head.bbox_pred.weight",
}


def numbered(names: list[str]) -> dict[str, torch.Tensor]:
    """A tensor with another value for each name; weights of convolutions have four axes."""
    shapes = {n: (2, 1, 1, 1) if n.endswith(".conv.weight") else (2,) for n in names}
    return {name: torch.full(shapes[name], float(i)) for i, name in enumerate(names)}


@pytest.mark.parametrize("head", [RETINA, ATSS, GFL], ids=["RetinaNet", "ATSS", "GFL"])
def test_names(head: dict[str, str]) -> None:
    names = {**NAMES, **head}
    state = numbered(list(names))
    found = mmdet_names(state, {}, None)
    for name, ours in names.items():
        assert_close(found[ours], state[name])
    # a convolution before a norm gets a bias of zeros
    zeros = {name for name in found if name not in names.values()}
    convolutions = {n for n in head if n.endswith(".conv.weight")} if head is not RETINA else set()
    assert zeros == {head[n].replace("weight", "bias") for n in convolutions}
    assert all((found[name] == 0).all() for name in zeros)


def test_scales_become_one_parameter() -> None:
    state = {f"bbox_head.scales.{i}.scale": torch.tensor(float(i)) for i in (1, 0, 2)}
    state |= {"bbox_head.gfl_cls.bias": torch.zeros(2), "bbox_head.integral.project": torch.ones(3)}
    found = mmdet_names(state, {}, None)
    assert found["head.bbox_scales"].tolist() == [0, 1, 2]
    assert found.keys() == {"head.bbox_scales", "head.cls_score.bias"}


def test_anchors_of_a_cell_are_reordered() -> None:
    """In the file, both sizes of ratio 0.5 come first; in this project, all ratios of size 32."""
    anchors = AnchorGenerator(
        sizes=[[32, 64]], aspect_ratios=[[0.5, 1.0, 2.0]], strides=[8], offset=0.0
    )
    # the number of an output: 100 ratio + 10 size + class or side
    cells = [100.0 * ratio + 10 * size for ratio in range(3) for size in range(2)]
    scores = torch.tensor([cell + k for cell in cells for k in range(2)])
    boxes = torch.tensor([cell + d for cell in cells for d in range(4)])
    state = {"bbox_head.retina_cls.bias": scores, "bbox_head.retina_reg.bias": boxes}
    found = mmdet_names(state, {"head.bbox_pred.bias": boxes}, anchors)
    assert found["head.cls_score.bias"].tolist() == [
        100 * r + 10 * s + k for s in range(2) for r in range(3) for k in (0, 1)
    ]
    assert found["head.bbox_pred.bias"][:8].tolist() == [0, 1, 2, 3, 100, 101, 102, 103]
    fewer = mmdet_names(state, {"head.bbox_pred.bias": boxes[:4]}, anchors)
    assert fewer["head.bbox_pred.bias"].tolist() == boxes.tolist()


@pytest.mark.parametrize(
    ("file", "model", "words"),
    [
        (
            {"HEAD__QUALITY": "centerness"},
            {},
            "The file has a quality branch in its head: set MODEL.RETINA_PLUGIN.HEAD.QUALITY to "
            "centerness or iou",
        ),
        (
            {},
            {"HEAD__QUALITY": "iou"},
            "Only the model has a quality branch in its head: set "
            "MODEL.RETINA_PLUGIN.HEAD.QUALITY to none",
        ),
        (
            {"BOX_CODER__NAME": "DistributionCoder"},
            {},
            "The file has 68 numbers for the box of an anchor, the model has 4: change "
            "MODEL.RETINA_PLUGIN.BOX_CODER.NAME",
        ),
    ],
    ids=["a branch in the file", "a branch in the model", "another box coder"],
)
def test_weights_of_another_head(
    file: dict[str, Any], model: dict[str, Any], words: str, tmp_path: Path
) -> None:
    giou = {"MODEL__RETINANET__BBOX_REG_LOSS_TYPE": "giou"}
    theirs, ours = (
        compact_model(**giou, **{f"MODEL__RETINA_PLUGIN__{key}": v for key, v in keys.items()})
        for keys in (file, model)
    )
    torch.save({"model": theirs.state_dict()}, tmp_path / "model.pth")
    with pytest.raises(WeightsError) as error:
        load_weights(ours, str(tmp_path / "model.pth"))
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("file", "model", "words"),
    [
        ({"NUM_CLASSES": 7}, {}, "NUM_CLASSES: 7 in the file, 3 in the model"),
        (
            {"NUM_CLASSES": 7},
            {"BOX_CODER": "DeltaCoder"},
            "The file has 68 numbers for the box of an anchor, the model has 4",
        ),
        ({"ASPECT_RATIOS": [[1.0]]}, {}, "The file has 2 anchors per cell, the model has 6"),
    ],
    ids=["classes", "classes and box coder", "anchors"],
)
def test_weights_of_another_head_with_distributions(
    file: dict[str, Any], model: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """With 16 bins, 68 numbers encode a box, so the numbers of outputs alone do not tell how many
    anchors a cell has."""
    keys = {
        "NUM_CLASSES": "MODEL__RETINANET__NUM_CLASSES",
        "BOX_CODER": "MODEL__RETINA_PLUGIN__BOX_CODER__NAME",
        "ASPECT_RATIOS": "MODEL__ANCHOR_GENERATOR__ASPECT_RATIOS",
    }
    giou = {"MODEL__RETINANET__BBOX_REG_LOSS_TYPE": "giou"}
    theirs, ours = (
        compact_model(
            **giou,
            **{keys[k]: v for k, v in ({"BOX_CODER": "DistributionCoder"} | changes).items()},
        )
        for changes in (file, model)
    )
    torch.save({"model": theirs.state_dict()}, tmp_path / "model.pth")
    with pytest.raises(WeightsError, match=words):
        load_weights(ours, str(tmp_path / "model.pth"))
