"""``import retina_plugin`` registers everything in Detectron2."""

import importlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from detectron2.config import get_cfg as detectron2_cfg
from detectron2.data import DatasetCatalog
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY, Backbone, build_model

import retina_plugin
from retina_plugin.d2 import FocalRetinaNet, add_retina_config
from retina_plugin.d2.modeling import backbone_names
from retina_plugin.modeling.build_backbone import BACKBONE_REGISTRY as OURS
from tests.models import COMPACT


def test_names() -> None:
    assert META_ARCH_REGISTRY.get("FocalRetinaNet") is FocalRetinaNet
    for name, builder in OURS.items():
        assert BACKBONE_REGISTRY.get(name) is builder
    assert {"digits_train", "digits_test", "bccd_train", "cards_val", "coco_2017_val"} <= set(
        DatasetCatalog.list()
    )


def test_twice_is_harmless() -> None:
    importlib.reload(importlib.import_module("retina_plugin.d2"))
    importlib.reload(retina_plugin)
    test_names()


@pytest.mark.slow
def test_before_detectron2_is_imported() -> None:
    """Tested in a new process, because other tests import Detectron2 first."""
    code = (
        "import sys, retina_plugin\n"
        "assert 'detectron2' not in sys.modules\n"
        "from detectron2.config import get_cfg\n"
        "from detectron2.data import DatasetCatalog\n"
        "from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY\n"
        "assert 'FocalRetinaNet' in META_ARCH_REGISTRY\n"
        "assert 'build_retina_resnet_fpn_backbone' in BACKBONE_REGISTRY\n"
        "assert 'digits_train' in DatasetCatalog\n"
        "retina_plugin.d2.add_retina_config(get_cfg())\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


def compact(**changes: Any) -> Any:
    """A config from Detectron2's own ``get_cfg``, with our keys added and the small model of the
    other tests."""
    cfg = detectron2_cfg()
    add_retina_config(cfg)
    add_retina_config(cfg)
    for key, value in {**COMPACT, **changes}.items():
        cfg.merge_from_list([key, value])
    return cfg


def test_a_frozen_config_stays_as_it_is() -> None:
    cfg = detectron2_cfg()
    cfg.freeze()
    with pytest.raises(ValueError, match=r"frozen: call add_retina_config\(cfg\) before"):
        add_retina_config(cfg)
    assert "RETINA_PLUGIN" not in cfg.MODEL


def test_old_names_are_errors_in_detectron2_and_are_read_by_our_config() -> None:
    old, new = "MODEL.RETINA_PLUGIN.HEAD_WIDTH", "MODEL.RETINA_PLUGIN.HEAD.WIDTH"
    with pytest.raises(KeyError, match=f"Key {old} was renamed to {new}"):
        compact(**{old: 16})
    with pytest.raises(ValueError, match=r"(?s)Type mismatch .* key: MODEL\.RETINA_PLUGIN\.HEAD"):
        compact(**{"MODEL.RETINA_PLUGIN.HEAD": "RetinaHead"})
    cfg = retina_plugin.d2.get_cfg()
    cfg.merge_from_list([old, 16, "MODEL.RETINA_PLUGIN.HEAD", "RetinaHead"])
    assert cfg.MODEL.RETINA_PLUGIN.HEAD.WIDTH == 16


def test_a_backbone_that_is_registered_again(write_modules: Callable) -> None:
    code = (
        "from retina_plugin.modeling import BACKBONE_REGISTRY\n"
        "@BACKBONE_REGISTRY.register()\ndef build_mine(cfg, input_shape): ..."
    )
    names = {"__name__": "my_cell"}
    for _ in range(2):
        exec(code, names)
        assert "build_mine" in backbone_names()
        assert BACKBONE_REGISTRY.get("build_mine") is names["build_mine"]
    del BACKBONE_REGISTRY._obj_map["build_mine"]


def test_detectron2s_own_config_and_builders() -> None:
    cfg = compact()
    model = build_model(cfg)
    assert isinstance(model, FocalRetinaNet)
    assert isinstance(model.backbone, Backbone)
    backbone = BACKBONE_REGISTRY.get("build_retina_resnet_backbone")(cfg, ShapeSpec(channels=3))
    assert list(backbone.output_shape()) == ["res3", "res4", "res5"]


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({}, (40, 70)),
        ({"height": 80, "width": 140}, (80, 140)),
        ({"height": 80}, (80, 70)),
        ({"width": 140}, (40, 140)),
    ],
    ids=["the image's own", "the original's", "height alone", "width alone"],
)
def test_results_have_the_size_that_is_asked_for(asked: dict, size: tuple[int, int]) -> None:
    """The detection covers the whole image of 40 x 70 pixels and is scaled to the requested
    size."""
    model = build_model(compact()).eval()
    whole = {"boxes": torch.tensor([[0.0, 0, 70, 40]]), "scores": torch.ones(1)}
    model.detect_images = lambda images: [{**whole, "labels": torch.zeros(1, dtype=torch.int64)}]
    (result,) = model([{"image": torch.zeros(3, 40, 70), **asked}])
    found = result["instances"]
    assert found.image_size == size
    assert found.pred_boxes.tensor.tolist() == [[0, 0, size[1], size[0]]]


def test_a_backbone_that_nobody_registered() -> None:
    with pytest.raises(KeyError, match="build_retina_resnet_fpn_backbone"):
        build_model(compact(**{"MODEL.BACKBONE.NAME": "build_retina_resnet_fpm_backbone"}))
