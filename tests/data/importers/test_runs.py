"""Runs on both hosts that name their data sets by path."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

from retina_plugin.data import load_dataset
from retina_plugin.data.exporters import convert
from tests.load_tools import load_tool
from tests.scenes import write_run

pytestmark = pytest.mark.slow

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)


@pytest.mark.parametrize("host", HOSTS)
def test_train_on_a_data_yaml_and_evaluate_on_a_folder(
    tmp_path: Path, root: Path, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_run(tmp_path, root)
    name = f"{tmp_path}/train/annotations.json@{tmp_path}/train/images"
    for format in ("yolo", "coco"):
        convert(name, format, str(tmp_path / format))
    sets = {"TRAIN": f"{tmp_path}/yolo/data.yaml", "TEST": f"{tmp_path}/coco"}
    keys = [word for key, path in sets.items() for word in (f"DATASETS.{key}", f"('{path}',)")]
    load_tool("train_net").main(
        ["--config-file", config, "--host", host, "SOLVER.MAX_ITER", "1", *keys]
    )
    output = capsys.readouterr().out
    dataset = load_dataset(sets["TRAIN"])
    boxes = sum(len(record["annotations"]) for record in dataset.records)
    assert (
        f"{sets['TRAIN']}: read as YOLO, split train of data.yaml: {len(dataset.records)} images, "
        f"{boxes} boxes, 3 classes\n"
    ) in output
    assert f"{sets['TEST']}: read as COCO, images in {tmp_path}/coco/images: " in output
    leaked = rf"data check: .*\b{len(dataset.records)} leaked-image \(first: "
    assert re.search(leaked, output)  # the sets have the same images
    found = json.loads((tmp_path / "out/inference/coco_instances_results.json").read_text())
    assert {result["category_id"] for result in found} <= {3, 7, 20}
    assert (tmp_path / "out/predictions.png").is_file()
