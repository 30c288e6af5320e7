"""Every packaged config runs a training step and a detection on Lightning."""

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

from retina_plugin.config import get_cfg
from retina_plugin.engine.checks import freeze_unused_parameters
from retina_plugin.lit.module import RetinaNetModule
from retina_plugin.modeling.build import build_model
from tests.configs import CONFIGS, scene, shrink, tame


def one_step(module: RetinaNetModule) -> None:
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(
        module, train_dataloaders=DataLoader([scene(), scene()], batch_size=2, collate_fn=list)
    )
    assert trainer.global_step == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_config(name: str) -> None:
    cfg = shrink(get_cfg(), name)
    # so that the only step changes the weights visibly
    cfg.merge_from_list(["SOLVER.WARMUP_FACTOR", 1.0])
    module = RetinaNetModule(build_model(cfg), cfg, class_names=["a", "b", "c"], seed=0)
    freeze_unused_parameters(tame(module.model))
    before = {n: p.detach().clone() for n, p in module.model.named_parameters() if p.requires_grad}
    one_step(module)
    parameters = dict(module.model.named_parameters())
    assert all(parameters[n].isfinite().all() for n in before)
    assert any(
        (parameters[n] != value).any() for n, value in before.items() if n.startswith("backbone")
    )
    assert any(
        (parameters[n] != value).any() for n, value in before.items() if n.startswith("head")
    )
    model = module.model.eval()
    with torch.no_grad():
        (found,) = model(*model.preprocess([scene()["image"]]))
    assert 0 < len(found["boxes"]) == len(found["scores"]) <= cfg.TEST.DETECTIONS_PER_IMAGE
