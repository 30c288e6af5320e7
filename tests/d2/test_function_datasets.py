"""Data sets that a user registers in Detectron2 as functions work in every tool."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from tests.load_tools import load_tool
from tests.scenes import write_run

MODULE = """
import json, os
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

def records(part):
    folder = os.path.join({folder!r}, part)
    content = json.load(open(os.path.join(folder, "annotations.json")))
    classes = {{3: 0, 7: 1}}
    for image in content["images"]:
        yield {{
            "file_name": os.path.join(folder, "images", image["file_name"]),
            "image_id": image["id"], "height": image["height"], "width": image["width"],
            "annotations": [
                {{"bbox": a["bbox"], "bbox_mode": BoxMode.XYWH_ABS,
                  "category_id": classes[a["category_id"]]}}
                for a in content["annotations"]
                if a["image_id"] == image["id"] and not a.get("iscrowd")
            ],
        }}

for part in ("train", "test"):
    DatasetCatalog.register("scenes_" + part, lambda part=part: list(records(part)))
    MetadataCatalog.get("scenes_" + part).thing_classes = ["square", "bar"]
"""


@pytest.fixture
def config(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A config whose data sets are functions of a module named in IMPORTS."""
    path = Path(write_run(tmp_path, root))
    (tmp_path / "scenes_of_mine.py").write_text(MODULE.format(folder=str(tmp_path)))
    monkeypatch.syspath_prepend(str(tmp_path))
    lines = (
        path.read_text()
        .replace('OPTIMIZER: "AdamW"', 'OPTIMIZER: "AdamW", IMPORTS: ["scenes_of_mine"]')
        .splitlines()
    )
    names = 'DATASETS: {TRAIN: ["scenes_train"], TEST: ["scenes_test"]}'
    path.write_text("\n".join(names if line.startswith("DATASETS:") else line for line in lines))
    yield str(path)
    for name in ("scenes_train", "scenes_test"):
        if name in DatasetCatalog:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)
    sys.modules.pop("scenes_of_mine", None)


@pytest.mark.long
def test_every_tool(tmp_path: Path, config: str, capsys: pytest.CaptureFixture) -> None:
    pictures = ["--max-images", "2", "--output-dir", str(tmp_path / "pictures")]
    load_tool("visualize_data").main(["--config-file", config, *pictures])
    load_tool("visualize_data").main(
        ["--config-file", config, "--dataset", "scenes_test", *pictures]
    )
    load_tool("visualize_data").main(["--config-file", config, "--source", "dataloader", *pictures])
    assert "scenes_test: 6 images, 1 of them without boxes; 10 boxes" in capsys.readouterr().out
    load_tool("analyze_model").main(
        ["--config-file", config, "--size", "64", "64", "--repeats", "1"]
    )
    run = ["--host", "detectron2", "--config-file", config]
    load_tool("train_net").main([*run, "SOLVER.MAX_ITER", "2"])
    out = tmp_path / "out"
    assert (out / "predictions.png").is_file()
    checkpoint, again = str(out / "model_final.pth"), tmp_path / "again"
    load_tool("train_net").main(
        [*run, "--eval-only", "MODEL.WEIGHTS", checkpoint, "OUTPUT_DIR", str(again)]
    )
    found = [
        json.loads((folder / "metrics.json").read_text().splitlines()[-1])["bbox/AP50"]
        for folder in (out, again)
    ]
    assert found[0] == pytest.approx(found[1], nan_ok=True)
    results = [
        "--input",
        str(again / "inference/coco_instances_results.json"),
        "--output",
        str(tmp_path / "looked"),
    ]
    load_tool("visualize_json_results").main([*results, "--config-file", config])
    load_tool("visualize_json_results").main([*results, "--dataset", "scenes_test"])
    image = str(tmp_path / "test/images/001.png")
    load_tool("demo").main(
        [
            "--config-file",
            config,
            "--weights",
            checkpoint,
            "--input",
            image,
            "--output",
            str(tmp_path / "demo"),
        ]
    )
    assert capsys.readouterr().out.count("6 pictures in") == 2
