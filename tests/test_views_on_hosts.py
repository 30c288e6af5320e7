"""Evaluations in several views give the same detections on both hosts as ``model.predict``."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from retina_plugin.config import CfgNode, get_cfg
from retina_plugin.data import load_dataset, read_image
from retina_plugin.data.samples import ValidationDataset
from retina_plugin.engine.host import Request
from retina_plugin.engine.launch import launch
from retina_plugin.evaluation.coco import coco_results
from retina_plugin.evaluation.detect import detect_samples
from retina_plugin.modeling.build import build_model
from tests.scenes import write_run

pytestmark = pytest.mark.slow

HAS_DETECTRON2 = importlib.util.find_spec("detectron2") is not None
HOSTS = ["lightning"] + ["detectron2"] * HAS_DETECTRON2
SLICE = "MODEL.RETINA_PLUGIN.TEST.SLICE"
VARIANTS = {
    "slices": [f"{SLICE}.SIZE", "48"],
    "slices and soft-NMS": [
        f"{SLICE}.SIZE", "48",
        f"{SLICE}.MERGE", "suppressor",
        f"{SLICE}.FULL_IMAGE", "False",
        "MODEL.RETINA_PLUGIN.SUPPRESSOR.NAME", "SoftNMS",
    ],
    "augmented slices": [
        f"{SLICE}.SIZE", "60",
        f"{SLICE}.FULL_IMAGE", "False",
        "TEST.AUG.ENABLED", "True",
        "TEST.AUG.MIN_SIZES", "(60,)",
        "MODEL.RETINA_PLUGIN.TEST.AUG.VERTICAL_FLIP", "True",
        "MODEL.RETINA_PLUGIN.TEST.AUG.MERGE", "wbf",
    ],
}  # fmt: skip


def cfg_of(config: Path, *options: str) -> CfgNode:
    cfg = get_cfg()
    cfg.merge_from_file(str(config))
    cfg.merge_from_list(list(options))
    return cfg


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A config with random weights that does not resize images, because Pillow and torch resize
    differently."""
    folder = tmp_path_factory.mktemp("views")
    path = Path(write_run(folder, root))
    torch.manual_seed(0)
    model = build_model(cfg_of(path, "MODEL.RETINANET.NUM_CLASSES", "3"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    torch.save({"model": model.state_dict()}, folder / "weights.pth")
    text = path.read_text().replace("MIN_SIZE_TEST: 64", "MIN_SIZE_TEST: 0")
    path.write_text(text.replace("NUM_CLASSES: -1", "NUM_CLASSES: 3"))
    return path


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_evaluation(config: Path, tmp_path: Path, host: str, variant: str) -> None:
    options = [
        "MODEL.WEIGHTS", str(config.parent / "weights.pth"), "OUTPUT_DIR", str(tmp_path / "out"),
        *VARIANTS[variant],
    ]  # fmt: skip
    launch(str(config), options, Request(eval_only=True), host=host)
    written = json.loads((tmp_path / "out/inference/coco_instances_results.json").read_text())
    cfg = cfg_of(config, *options)
    model, dataset = build_model(cfg), load_dataset(cfg.DATASETS.TEST[0])
    model.load_state_dict(torch.load(options[1])["model"])
    expected = []
    for record in dataset.records:
        image = torch.tensor(read_image(record["file_name"])).permute(2, 0, 1)
        found = model.predict([image])[0]
        expected += coco_results(record["image_id"], found, dataset.category_ids)
    assert len(expected) > 50
    assert _numbers(written) == pytest.approx(_numbers(expected), rel=1e-3, abs=1e-2)


def _numbers(results: list[dict[str, Any]]) -> list[float]:
    names = ("image_id", "category_id", "score")
    return [x for r in results for x in (*(r[name] for name in names), *r["bbox"])]


@pytest.mark.skipif(not HAS_DETECTRON2, reason="needs Detectron2")
def test_losses_on_detectron2(config: Path) -> None:
    """Detectron2's model measures the same losses in slices."""
    from detectron2.modeling import build_model as build_detectron2_model

    from retina_plugin.d2.config import get_cfg as get_detectron2_cfg

    cfg = get_detectron2_cfg()
    cfg.merge_from_file(str(config))
    cfg.merge_from_list(VARIANTS["slices"])
    records = load_dataset(cfg.DATASETS.TEST[0]).records[:2]
    samples = list(map(ValidationDataset.from_config(cfg, records).__getitem__, range(2)))
    model = build_detectron2_model(cfg).eval()
    with torch.no_grad():
        outputs = model(samples)
        found = detect_samples(model, samples)
    assert [output["losses"] for output in outputs] == found.losses
    for output, detections in zip(outputs, found.unfiltered, strict=True):
        assert_close(output["unfiltered"].pred_boxes.tensor, detections["boxes"])
    for output, detections, sample in zip(outputs, found.detections, samples, strict=True):
        assert output["instances"].image_size == (sample["height"], sample["width"])
        assert_close(output["instances"].pred_boxes.tensor, detections["boxes"])
    with (
        torch.no_grad(),
        pytest.warns(UserWarning, match=r"TEST.AUG.ENABLED have no effect on images"),
    ):
        model([{"image": samples[0]["image"]}])
