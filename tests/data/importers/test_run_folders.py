"""Runs and plans inside the folder of their data are no part of the data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from retina_plugin.data import load_dataset, splits_of
from retina_plugin.data.exporters import EXPORTERS, convert
from tests.coco_files import write_coco
from tests.imported_boxes import write_images

CONFIG = "MODEL: {RETINA_PLUGIN: {OPTIMIZER: AdamW}}\n"


def write_run(folder: Path, data: str, *, config: str = "config.yaml") -> None:
    """The files of a run that readers of data could take for data."""
    write_images(folder, "predictions.png")
    (folder / config).write_text(CONFIG)
    for split in ("train", "val"):
        records = load_dataset(data).records
        images = [{"id": i, "file_name": r["file_name"]} for i, r in enumerate(records)]
        content = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "x"}]}
        (folder / f"plan.{split}.json").write_text(json.dumps(content))


@pytest.mark.parametrize("format", EXPORTERS)
@pytest.mark.parametrize("place", ["output", "runs/output", "."])
@pytest.mark.parametrize("config", ["config.yaml", "plan.yaml"])
def test_the_data_is_read_as_before(tmp_path: Path, format: str, place: str, config: str) -> None:
    json_file, images = write_coco(tmp_path / "coco")
    data = tmp_path / "my"
    convert(f"{json_file}@{images}", format, str(data))
    before = load_dataset(str(data))
    write_run(data / place, str(data), config="plan.yaml" if place == "." else config)
    after = load_dataset(str(data))
    assert after.records == before.records
    assert (after.format, after.warnings) == (before.format, before.warnings)


@pytest.mark.parametrize("place", ["output", "."])
def test_images_beside_their_labels(tmp_path: Path, place: str) -> None:
    write_images(tmp_path, "a.png")
    (tmp_path / "a.txt").write_text("0 .5 .5 .2 .2\n")
    (tmp_path / "classes.txt").write_text("ant\n")
    write_run(tmp_path / place, str(tmp_path), config="plan.yaml")
    (record,) = load_dataset(str(tmp_path)).records
    assert Path(record["file_name"]).name == "a.png"


@pytest.mark.parametrize("place", ["output", "."])
def test_labelme(tmp_path: Path, place: str) -> None:
    write_images(tmp_path, "a.png")
    shape = {"label": "ant", "points": [[1, 2], [30, 40]], "shape_type": "rectangle"}
    content = {"version": "5", "flags": {}, "shapes": [shape], "imagePath": "a.png"}
    (tmp_path / "a.json").write_text(json.dumps(content))
    write_run(tmp_path / place, str(tmp_path), config="plan.yaml")
    dataset = load_dataset(str(tmp_path))
    assert [Path(r["file_name"]).name for r in dataset.records] == ["a.png"]
    assert dataset.warnings == ()


def test_the_files_of_a_plan_are_data_if_there_are_no_others(tmp_path: Path) -> None:
    json_file, images = write_coco(tmp_path / "my")
    write_run(tmp_path / "run", f"{json_file}@{images}")
    (tmp_path / "run" / "plan.yaml").write_text(CONFIG)
    assert list(splits_of(str(tmp_path / "run"))) == ["train", "val"]


def test_a_config_of_another_program_hides_nothing(tmp_path: Path) -> None:
    write_images(tmp_path, "a/1.png")
    (tmp_path / "a" / "1.txt").write_text("0 .5 .5 .2 .2\n")
    (tmp_path / "a" / "config.yaml").write_text("color: red\n")
    assert len(load_dataset(str(tmp_path)).records) == 1


def test_folders_that_are_symbolic_links(tmp_path: Path) -> None:
    write_images(tmp_path / "elsewhere", "1.png")
    (tmp_path / "my" / "labels").mkdir(parents=True)
    (tmp_path / "my" / "images").mkdir()
    (tmp_path / "my" / "labels" / "photos").mkdir()
    (tmp_path / "my" / "labels" / "photos" / "1.txt").write_text("0 .5 .5 .2 .2\n")
    (tmp_path / "my" / "images" / "photos").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "my" / "images" / "circle").symlink_to(tmp_path / "my")
    (record,) = load_dataset(str(tmp_path / "my")).records
    assert len(record["annotations"]) == 1
