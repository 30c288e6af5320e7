"""Losses on validation images: by hand, from one forward pass, and in runs on both hosts."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from retina_plugin import build_model, load_weights
from retina_plugin.config import get_cfg
from retina_plugin.data import load_dataset
from retina_plugin.data.samples import ValidationDataset
from retina_plugin.engine.host import Request
from retina_plugin.engine.launch import launch
from retina_plugin.evaluation.losses import data_set_losses
from retina_plugin.modeling.retinanet import RetinaNet
from retina_plugin.modeling.structures import ImageLosses, Target
from tests.models import compact_model
from tests.scenes import write_run

pytestmark = pytest.mark.slow

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)


def of_image(loss_cls: float, loss_box: float, positives: int) -> ImageLosses:
    return ImageLosses({"loss_cls": loss_cls, "loss_box_reg": loss_box}, positives)


def test_losses_of_a_data_set() -> None:
    """(6 + 2 + 4) / (3 + 0 + 1) and (2 + 0 + 6) / 4; image 3 is in both processes."""
    parts = [
        {1: of_image(6, 2, 3), 3: of_image(4, 6, 1)},
        {2: of_image(2, 0, 0), 3: of_image(4, 6, 1)},
    ]
    expected = {"total_loss": 5.0, "loss_cls": 3.0, "loss_box_reg": 2.0}
    assert data_set_losses(parts) == expected
    assert data_set_losses(parts[::-1]) == expected


def test_losses_without_positives_and_without_images() -> None:
    assert data_set_losses([{1: of_image(0.5, 0, 0)}])["loss_cls"] == 0.5
    assert data_set_losses([{}]) == {}


@pytest.fixture
def model() -> RetinaNet:
    return compact_model().eval()


def targets_of(*counts: int) -> list[Target]:
    boxes = torch.tensor([[4.0, 4.0, 30.0, 30.0], [20.0, 10.0, 60.0, 60.0]])
    return [{"boxes": boxes[:n], "labels": torch.arange(n) % 2} for n in counts]


@torch.no_grad()
def test_one_pass_gives_detections_and_losses(
    model: RetinaNet, both_forms: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Detection alone and training alone give the same results, for images of two sizes. The loss
    normaliser does not change."""
    images = [torch.rand(3, *size) * 255 for size in ((64, 96), (96, 64), (64, 96))]
    targets = targets_of(2, 1, 0)
    expected = [model.detect_images([image])[0] for image in images]
    passes: list[int] = []
    predict_dense = model.predict_dense
    monkeypatch.setattr(model, "predict_dense", lambda x: passes.append(len(x)) or predict_dense(x))
    normalizer = model.loss_normalizer.clone()
    found, losses, unfiltered = model.detect_and_measure(images, targets)
    assert sorted(passes) == [1, 2]
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other)
    monkeypatch.setattr(model.postprocessor, "score_threshold", 0.0)
    for one, other in zip(unfiltered, model.detect_images(images), strict=True):
        assert_close(one, other)
    for image, target, (sums, positives) in zip(images, targets, losses, strict=True):
        batch, sizes = model.preprocess([image])
        alone = model(batch, sizes, [target])
        expected_sums = {name: (x * normalizer).item() for name, x in alone.items()}
        assert_close(sums, expected_sums, rtol=1e-5, atol=0)
        assert (positives > 0) == (len(target["labels"]) > 0)
    assert_close(model.loss_normalizer, normalizer, rtol=0, atol=0)


def test_samples_with_ground_truth(tmp_path: Path, root: Path) -> None:
    """Boxes are scaled with the image, clipped, and without crowds."""
    cfg = get_cfg()
    cfg.merge_from_file(write_run(tmp_path, root))
    cfg.INPUT.MIN_SIZE_TEST = 32
    records = load_dataset(cfg.DATASETS.TEST[0]).records
    samples = ValidationDataset.from_config(cfg, records)
    crowd = samples[2]
    assert crowd["image"].shape == (3, 40, 32)
    objects = [a for a in records[2]["annotations"] if not a["iscrowd"]]
    assert_close(crowd["boxes"], torch.tensor([a["bbox"] for a in objects]) / 2)
    assert crowd["labels"].tolist() == [a["category_id"] for a in objects]
    assert (crowd["height"], crowd["width"]) == (80, 64)
    assert samples[1]["boxes"].shape == (0, 4)
    plain = super(ValidationDataset, samples).__getitem__(2)
    assert plain.keys() == crowd.keys() - {"boxes", "labels"}
    assert_close(plain["image"], crowd["image"], rtol=0, atol=0)


@pytest.mark.parametrize("host", HOSTS)
def test_runs(tmp_path: Path, root: Path, host: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The losses in metrics.json are those of the checkpoint on the validation images."""
    config = write_run(tmp_path, root)
    best = ["MODEL.RETINA_PLUGIN.SOLVER.BEST_METRIC", "validation/total_loss"]
    steps = ["TEST.EVAL_PERIOD", "2", "SOLVER.CHECKPOINT_PERIOD", "2", "SOLVER.MAX_ITER", "3"]
    launch(config, [*best, *steps], Request(), host=host)
    out = tmp_path / "out"
    lines = list(map(json.loads, (out / "metrics.json").read_text().splitlines()))
    logged = {line["iteration"]: line for line in lines if "validation/total_loss" in line}
    cfg = get_cfg()
    cfg.merge_from_file(str(out / "config.yaml"))
    data, totals = (
        ValidationDataset.from_config(cfg, load_dataset(cfg.DATASETS.TEST[0]).records),
        [],
    )
    for name, iteration in (("model_0000001.pth", 1), ("model_final.pth", 2)):
        model = build_model(cfg).eval()
        load_weights(model, str(out / name))
        with torch.no_grad():
            found = [model.detect_and_measure([x["image"]], [x]).losses[0] for x in data]
        losses = data_set_losses([dict(enumerate(found))])
        measured = {name: logged[iteration][f"validation/{name}"] for name in losses}
        assert_close(measured, losses, rtol=1e-4, atol=0)
        totals.append(losses["total_loss"])
    printed = capsys.readouterr().out
    assert "evaluation after step 2 of 3: AP " in printed
    assert f", loss {totals[0]:.3f}" in printed
    step = (2, 3)[int(np.argmin(totals))]
    assert f"best validation/total_loss {min(totals):.4g}, after step {step}" in printed
