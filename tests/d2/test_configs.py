"""Every packaged config runs a training step and a detection on Detectron2."""

import pytest
import torch
from detectron2.engine import SimpleTrainer
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from retina_plugin import get_cfg
from retina_plugin.d2.trainer import RetinaTrainer
from retina_plugin.engine.checks import freeze_unused_parameters
from tests.configs import CONFIGS, scene, shrink, tame


def annotated() -> dict:
    """:func:`tests.configs.scene` in Detectron2's format."""
    found = scene()
    instances = Instances((64, 64), gt_boxes=Boxes(found["boxes"]), gt_classes=found["labels"])
    return {"image": found["image"], "instances": instances}


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_config(name: str) -> None:
    cfg = shrink(get_cfg(), name)
    model = build_model(cfg)
    freeze_unused_parameters(tame(model))
    before = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    with EventStorage() as storage:
        SimpleTrainer(
            model, [[annotated(), annotated()]], RetinaTrainer.build_optimizer(cfg, model)
        ).run_step()
        assert storage.latest()["total_loss"][0] > 0
    parameters = dict(model.named_parameters())
    assert all(parameters[n].isfinite().all() for n in before)
    assert any(
        (parameters[n] != value).any() for n, value in before.items() if n.startswith("backbone")
    )
    assert any(
        (parameters[n] != value).any() for n, value in before.items() if n.startswith("head")
    )
    with torch.no_grad():
        (result,) = model.eval()([{"image": scene()["image"], "height": 32, "width": 32}])
    assert 0 < len(result["instances"]) <= cfg.TEST.DETECTIONS_PER_IMAGE
    assert result["instances"].pred_boxes.tensor.max() <= 32
