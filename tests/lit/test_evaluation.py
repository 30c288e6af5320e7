"""COCO metrics of a data set small enough to reckon them: two images, three classes with gaps between their ids."""

import json
import math
from pathlib import Path

import pytest
import torch

from retina_plugin.data import Dataset, load_dataset
from retina_plugin.lit.evaluation import coco_results, evaluate

SUMMARY = {"AP", "AP50", "AP75", "APs", "APm", "APl"}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """A cat of 12 x 10 pixels, a dog of 40 x 40, a crowd of dogs; no bird. Two annotations lack "area" and "iscrowd"."""
    (tmp_path / "images").mkdir()
    for name in ("1.png", "2.png"):
        (tmp_path / "images" / name).touch()
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 100, "width": 100} for i in (1, 2)],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 2, "bbox": [10, 10, 12, 10]},
            {"id": 2, "image_id": 1, "category_id": 5, "bbox": [50, 50, 40, 40], "iscrowd": 0, "area": 1600},
            {"id": 3, "image_id": 2, "category_id": 5, "bbox": [0, 0, 60, 60], "iscrowd": 1},
        ],
        "categories": [{"id": 2, "name": "cat"}, {"id": 5, "name": "dog"}, {"id": 9, "name": "bird"}],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    return load_dataset(f"{tmp_path / 'annotations.json'}@{tmp_path / 'images'}")


def result(image: int, category: int, box: list[float], score: float) -> dict:
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


CAT, DOG = result(1, 2, [10, 10, 12, 10], 0.9), result(1, 5, [50, 50, 40, 40], 0.8)


def test_results_are_in_cocos_format() -> None:
    detections = {"boxes": torch.tensor([[1.0, 2, 4, 8]]), "scores": torch.tensor([0.5]), "labels": torch.tensor([1])}
    assert coco_results(7, detections, (2, 5, 9)) == [result(7, 5, [1, 2, 3, 6], 0.5)]
    assert coco_results(7, {key: value[:0] for key, value in detections.items()}, (2, 5, 9)) == []
    assert detections["boxes"].tolist() == [[1, 2, 4, 8]]


def test_perfect(dataset: Dataset, tmp_path: Path) -> None:
    found = evaluate(dataset, [CAT, DOG], str(tmp_path / "out"))["bbox"]
    assert set(found) == SUMMARY | {"AP-cat", "AP-dog", "AP-bird"}
    for name in SUMMARY - {"APl"} | {"AP-cat", "AP-dog"}:
        assert found[name] == pytest.approx(100)
    assert math.isnan(found["AP-bird"])  # no bird to be found
    assert math.isnan(found["APl"])  # nothing larger than 96 x 96
    assert json.loads((tmp_path / "out/coco_instances_results.json").read_text()) == [CAT, DOG]


def test_a_shifted_box_counts_up_to_its_iou(dataset: Dataset, tmp_path: Path) -> None:
    """Shifted by 2 of 12 pixels the cat has IoU 10 / 14 = 0.714: right at 5 of the 10 thresholds from 0.5 to 0.95."""
    found = evaluate(dataset, [result(1, 2, [12, 10, 12, 10], 0.9), DOG], str(tmp_path))["bbox"]
    assert found["AP-cat"] == pytest.approx(50)
    assert found["AP"] == pytest.approx(75)
    assert found["AP50"] == pytest.approx(100)
    assert found["AP75"] == pytest.approx(50)


def test_a_false_box_costs_when_its_score_is_higher(dataset: Dataset, tmp_path: Path) -> None:
    """Half of what is found by the time the cat is found is right."""
    wrong = result(2, 2, [70, 70, 10, 10], 0.95)
    assert evaluate(dataset, [wrong, CAT, DOG], str(tmp_path))["bbox"]["AP-cat"] == pytest.approx(50)
    wrong["score"] = 0.1
    assert evaluate(dataset, [wrong, CAT, DOG], str(tmp_path))["bbox"]["AP-cat"] == pytest.approx(100)


def test_boxes_in_a_crowd_cost_nothing(dataset: Dataset, tmp_path: Path) -> None:
    crowd = [result(2, 5, [x, 5, 20, 20], 0.99) for x in (0, 10, 30)]
    assert evaluate(dataset, [CAT, DOG, *crowd], str(tmp_path))["bbox"]["AP-dog"] == pytest.approx(100)
    outside = result(2, 5, [75, 75, 20, 20], 0.99)
    assert evaluate(dataset, [CAT, DOG, outside], str(tmp_path))["bbox"]["AP-dog"] == pytest.approx(50)


def test_nothing_found(dataset: Dataset, tmp_path: Path) -> None:
    found = evaluate(dataset, [], str(tmp_path))["bbox"]
    assert set(found) == SUMMARY
    assert all(map(math.isnan, found.values()))
    assert json.loads((tmp_path / "coco_instances_results.json").read_text()) == []


def test_nothing_found_of_one_class(dataset: Dataset, tmp_path: Path) -> None:
    assert evaluate(dataset, [DOG], str(tmp_path))["bbox"]["AP-cat"] == 0
