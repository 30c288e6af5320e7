"""Evaluation in complete runs on either host: ground truth, limit of detections, and messages
beside the metrics."""

from __future__ import annotations

import codecs
import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from retina_plugin.config import get_cfg
from retina_plugin.modeling.build import build_model
from retina_plugin.modeling.postprocessing import PostProcessor
from tests.load_tools import load_tool
from tests.scenes import write_run
from tests.threads import one_thread

__all__ = ["one_thread"]  # a fixture

pytestmark = pytest.mark.slow

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)
CATEGORIES = [{"id": 3, "name": "square"}, {"id": 7, "name": "bar"}, {"id": 20, "name": "nothing"}]
Box = list[float]


@pytest.fixture(scope="module")
def train_net() -> Any:
    """Load ``tools/train_net.py`` as a module."""
    return load_tool("train_net")


def metrics(folder: Path) -> list[dict[str, float]]:
    return [
        json.loads(line)
        for line in (folder / "metrics.json").read_text(encoding="utf-8").splitlines()
    ]


def write_image(folder: Path, boxes: list[Box] | None, **changes: Any) -> str:
    """Write a test set of one gray 64 x 64 image with squares at XYWH ``boxes``; None omits
    "annotations"."""
    (folder / "images").mkdir(parents=True)
    Image.fromarray(np.full((64, 64, 3), 128, dtype=np.uint8)).save(folder / "images/a.png")
    content: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "a.png", "height": 64, "width": 64}],
        "categories": CATEGORIES,
        **changes,
    }
    if boxes is not None:
        image, category = content["images"][0]["id"], content["categories"][0]["id"]
        content["annotations"] = [
            {"id": i, "image_id": image, "category_id": category, "bbox": box}
            for i, box in enumerate(boxes)
        ]
    (folder / "annotations.json").write_text(json.dumps(content), encoding="utf-8")
    return f"{folder / 'annotations.json'}@{folder / 'images'}"


@pytest.fixture
def evaluate(
    train_net: Any, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, float]]:
    """Run ``--eval-only`` with a model that finds squares at given XYXY boxes; return the line of
    ``metrics.json``."""

    def run(host: str, name: str, found: list[Box], *overrides: str) -> dict[str, float]:
        def detect(
            self: PostProcessor, *args: Any, **options: Any
        ) -> list[dict[str, torch.Tensor]]:
            boxes = torch.tensor(found).view(-1, 4)
            scores = torch.linspace(0.9, 0.5, len(boxes))
            return [
                {
                    "boxes": boxes,
                    "scores": scores,
                    "labels": torch.zeros(len(boxes), dtype=torch.int64),
                }
            ]

        monkeypatch.setattr(PostProcessor, "__call__", detect)
        config = write_run(tmp_path / "run", root)
        cfg = get_cfg()
        cfg.merge_from_file(config)
        cfg.MODEL.RETINANET.NUM_CLASSES = 3
        torch.save({"model": build_model(cfg).state_dict()}, tmp_path / "model.pth")
        options = [
            "MODEL.WEIGHTS",
            str(tmp_path / "model.pth"),
            "DATASETS.TEST",
            f"('{name}',)",
            *overrides,
        ]
        train_net.main(["--config-file", config, "--host", host, "--eval-only", *options])
        path = tmp_path / "run/out/metrics.json"
        return metrics(path.parent)[-1] if path.exists() else {}

    return run


@pytest.mark.parametrize("host", HOSTS)
def test_perfect_detections_of_cleaned_boxes(
    evaluate: Any, tmp_path: Path, host: str, capsys: pytest.CaptureFixture
) -> None:
    """One box is unchanged, one is clipped, two are dropped. The JSON starts with a byte order mark
    and has an unused parent class."""
    boxes = [[4, 4, 20, 20], [50, 30, 30, 20], [10, 40, 8, 0], [90, 3, 5, 5]]
    children = [{**category, "supercategory": "nothing"} for category in CATEGORIES[:2]]
    name = write_image(tmp_path / "test", boxes, categories=[*children, CATEGORIES[2]])
    path = tmp_path / "test/annotations.json"
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    found = evaluate(host, name, [[4, 4, 24, 24], [50, 30, 64, 50]])
    assert found["bbox/AP"] == found["bbox/APs"] == found["bbox/AP-square"] == pytest.approx(100)
    printed = capsys.readouterr().out
    assert "1 of 4 boxes have no area and were dropped (first: annotation 2 of a.png" in printed
    assert "1 of 4 boxes lie outside their image and were dropped" in printed
    assert "1 of 4 boxes reach outside their image and were clipped" in printed
    assert "4 boxes have no area or area 0 in " in printed
    assert "APl nan: no ground truth box of at least 96x96 pixels" in printed
    assert "AP of nothing    nan: no box of this class in the data set" in printed
    assert "category 20 ('nothing') is only the supercategory of others" in printed


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(("limit", "ap"), [(150, 100), (100, 100 * 84 / 101)])
def test_more_than_100_boxes(
    evaluate: Any, tmp_path: Path, host: str, limit: int, ap: float, capsys: pytest.CaptureFixture
) -> None:
    """The test set has 120 boxes; the fake detector ignores the limit of detections."""
    corners = [(5 * (i % 12), 6 * (i // 12)) for i in range(120)]
    name = write_image(tmp_path / "test", [[x, y, 4, 4] for x, y in corners])
    boxes = [[x, y, x + 4, y + 4] for x, y in corners]
    found = evaluate(host, name, boxes, "TEST.DETECTIONS_PER_IMAGE", str(limit))
    assert found["bbox/AP"] == found["bbox/AP-square"] == pytest.approx(ap)
    printed = capsys.readouterr().out
    assert f"AR {100 * min(limit, 120) / 120:.1f}  ARs" in printed
    warning = "1 of 1 images have more boxes than TEST.DETECTIONS_PER_IMAGE (100), up to 120."
    # The warning is printed at the start and beside the metrics.
    assert printed.count(warning) == (0 if limit > 120 else 2)
    assert (warning in printed.split("model: K = 3")[0]) == (limit < 120)


TEXT_IDS = {
    "images": [{"id": "a", "file_name": "a.png", "height": 64, "width": 64}],
    "categories": [{**category, "id": category["name"]} for category in CATEGORIES],
}
FLOAT_IDS = {
    "images": [{"id": 1.0, "file_name": "a.png", "height": 64, "width": 64}],
    "categories": [{**category, "id": float(category["id"])} for category in CATEGORIES],
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("ids", [TEXT_IDS, FLOAT_IDS, {}], ids=["text", "floats", "numbers"])
def test_the_results_of_a_run_can_be_visualized(
    evaluate: Any, tmp_path: Path, host: str, ids: dict, capsys: pytest.CaptureFixture
) -> None:
    if ids is TEXT_IDS:  # classes are sorted by id
        ids = {**ids, "categories": [{**c, "id": f"{i}"} for i, c in enumerate(CATEGORIES)]}
    name = write_image(tmp_path / "test", [[4, 4, 20, 20]], **ids)
    assert evaluate(host, name, [[4, 4, 24, 24]])["bbox/AP"] == pytest.approx(100)
    look_at(name, tmp_path)
    assert "1 of 1 detections reach 50%" in capsys.readouterr().out


def look_at(name: str, folder: Path) -> None:
    file = str(folder / "run/out/inference/coco_instances_results.json")
    load_tool("visualize_json_results").main(
        ["--input", file, "--dataset", name, "--output", str(folder / "pictures")]
    )
    assert len(list((folder / "pictures").iterdir())) == 1


@pytest.mark.parametrize("host", HOSTS)
def test_without_annotations_detections_are_written(
    evaluate: Any, tmp_path: Path, host: str, capsys: pytest.CaptureFixture
) -> None:
    """A test set like COCO's test-dev: detections are written, and a message explains why metrics
    are missing."""
    name = write_image(tmp_path / "test", None)
    assert evaluate(host, name, [[4, 4, 24, 24]]) == {}
    printed = capsys.readouterr().out
    assert "no metrics: " in printed
    assert (
        "annotations.json has no annotations, as COCO's test-dev. The detections are in " in printed
    )
    results = json.loads((tmp_path / "run/out/inference/coco_instances_results.json").read_text())
    assert [(r["image_id"], r["category_id"], r["bbox"]) for r in results] == [
        (1, 3, [4, 4, 20, 20])
    ]
    look_at(name, tmp_path)


@pytest.mark.parametrize("host", HOSTS)
def test_training_with_a_test_set_without_annotations(
    train_net: Any, tmp_path: Path, root: Path, host: str, capsys: pytest.CaptureFixture
) -> None:
    """The second test set has annotations."""
    config, name = write_run(tmp_path, root), write_image(tmp_path / "dev", None)
    full = f"{tmp_path / 'test/annotations.json'}@{tmp_path / 'test/images'}"
    steps = ["SOLVER.MAX_ITER", "2", "TEST.EVAL_PERIOD", "1"]
    train_net.main(
        ["--config-file", config, "--host", host, *steps, "DATASETS.TEST", str([name, full])]
    )
    assert "annotations.json has no annotations, as COCO's test-dev" in capsys.readouterr().out
    assert (tmp_path / "out/model_final.pth").is_file()
    evaluations = [line for line in metrics(tmp_path / "out") if f"{full}/bbox/AP" in line]
    assert len(evaluations) == 2
    assert not any(key.startswith(f"{name}/") for line in metrics(tmp_path / "out") for key in line)


@pytest.mark.parametrize("host", HOSTS)
def test_each_evaluation_is_a_line(train_net: Any, tmp_path: Path, root: Path, host: str) -> None:
    """This includes evaluations between two lines of losses, which come every 20 steps."""
    config = write_run(tmp_path, root)
    periods = ["SOLVER.MAX_ITER", "22", "TEST.EVAL_PERIOD", "5", "SOLVER.WARMUP_ITERS", "1"]
    train_net.main(["--config-file", config, "--host", host, *periods])
    lines = metrics(tmp_path / "out")
    evaluations = [line for line in lines if "bbox/AP" in line]
    assert [line["iteration"] for line in evaluations][:4] == [4, 9, 14, 19]
    assert len(evaluations) == 5
    names = {
        f"bbox/AP{suffix}"
        for suffix in ("", "50", "75", "s", "m", "l", "-square", "-bar", "-nothing")
    }
    ends = {f"bbox/AP{suffix}_{end}" for suffix in ("", "50") for end in ("low", "high")}
    last_keys = [names, names | ends]
    # early evaluations may have no detections
    for line, keys in zip(evaluations[-2:], last_keys, strict=True):
        assert {key for key in line if key.startswith("bbox/")} == keys
        assert math.isnan(line["bbox/AP-nothing"])
    assert sum("lr" in line for line in lines if line["iteration"] == 19) == 1
