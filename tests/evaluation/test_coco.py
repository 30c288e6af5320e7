"""COCO metrics of a data set that is small enough to compute them by hand: two images, three
classes with id gaps."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

from retina_plugin.config import get_cfg
from retina_plugin.data import Dataset, load_dataset, read_coco
from retina_plugin.evaluation import coco as evaluation
from retina_plugin.evaluation.coco import coco_results, compute_metrics, evaluate, ground_truth
from retina_plugin.evaluation.metric_notes import (
    detection_limit_warnings,
    metric_notes,
    nan_reasons,
)
from retina_plugin.evaluation.results import results_table
from tests.coco_files import changed, write_coco

SUMMARY = {"AP", "AP50", "AP75", "APs", "APm", "APl"}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """A cat of 12 x 10 pixels, a dog of 40 x 40, a crowd of dogs; no bird. Two annotations lack
    "area" and "iscrowd"."""
    (tmp_path / "images").mkdir()
    for name in ("1.png", "2.png"):
        (tmp_path / "images" / name).touch()
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 100, "width": 100} for i in (1, 2)],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 2, "bbox": [10, 10, 12, 10]},
            {
                "id": 2,
                "image_id": 1,
                "category_id": 5,
                "bbox": [50, 50, 40, 40],
                "iscrowd": 0,
                "area": 1600,
            },
            {"id": 3, "image_id": 2, "category_id": 5, "bbox": [0, 0, 60, 60], "iscrowd": 1},
        ],
        "categories": [
            {"id": 2, "name": "cat"},
            {"id": 5, "name": "dog"},
            {"id": 9, "name": "bird"},
        ],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    return load_dataset(f"{tmp_path / 'annotations.json'}@{tmp_path / 'images'}")


def result(image: int, category: int, box: list[float], score: float) -> dict:
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


CAT, DOG = result(1, 2, [10, 10, 12, 10], 0.9), result(1, 5, [50, 50, 40, 40], 0.8)


def test_results_are_in_cocos_format() -> None:
    detections = {
        "boxes": torch.tensor([[1.0, 2, 4, 8]]),
        "scores": torch.tensor([0.5]),
        "labels": torch.tensor([1]),
    }
    assert coco_results(7, detections, (2, 5, 9)) == [result(7, 5, [1, 2, 3, 6], 0.5)]
    assert coco_results(7, {key: value[:0] for key, value in detections.items()}, (2, 5, 9)) == []
    assert detections["boxes"].tolist() == [[1, 2, 4, 8]]


def metrics(dataset: Dataset, results: list[dict], limit: int = 100) -> dict[str, float]:
    return compute_metrics(dataset, results, max_detections=limit).precision


def test_perfect(dataset: Dataset, tmp_path: Path) -> None:
    found = evaluate(dataset, [{1: [CAT, DOG]}], str(tmp_path / "out"), max_detections=100)["bbox"]
    assert set(found) == SUMMARY | {"AP-cat", "AP-dog", "AP-bird"}
    for name in SUMMARY - {"APl"} | {"AP-cat", "AP-dog"}:
        assert found[name] == pytest.approx(100)
    assert math.isnan(found["AP-bird"])  # the data set has no bird
    assert math.isnan(found["APl"])  # nothing larger than 96 x 96
    assert json.loads((tmp_path / "out/coco_instances_results.json").read_text()) == [CAT, DOG]


def test_a_shifted_box_counts_up_to_its_iou(dataset: Dataset) -> None:
    """Shifted by 2 of 12 pixels, the cat has IoU 10 / 14 = 0.714, which counts at 5 of the 10
    thresholds from 0.5 to 0.95."""
    found = metrics(dataset, [result(1, 2, [12, 10, 12, 10], 0.9), DOG])
    assert found["AP-cat"] == pytest.approx(50)
    assert found["AP"] == pytest.approx(75)
    assert found["AP50"] == pytest.approx(100)
    assert found["AP75"] == pytest.approx(50)


def test_a_false_positive_with_a_higher_score_lowers_ap(dataset: Dataset) -> None:
    """Precision is one half when the cat is found."""
    wrong = result(2, 2, [70, 70, 10, 10], 0.95)
    assert metrics(dataset, [wrong, CAT, DOG])["AP-cat"] == pytest.approx(50)
    wrong["score"] = 0.1
    assert metrics(dataset, [wrong, CAT, DOG])["AP-cat"] == pytest.approx(100)


def test_boxes_in_a_crowd_are_ignored(dataset: Dataset) -> None:
    crowd = [result(2, 5, [x, 5, 20, 20], 0.99) for x in (0, 10, 30)]
    assert metrics(dataset, [CAT, DOG, *crowd])["AP-dog"] == pytest.approx(100)
    outside = result(2, 5, [75, 75, 20, 20], 0.99)
    assert metrics(dataset, [CAT, DOG, outside])["AP-dog"] == pytest.approx(50)


def test_nothing_found(dataset: Dataset, tmp_path: Path) -> None:
    found = evaluate(dataset, [{1: [], 2: []}], str(tmp_path), max_detections=100)["bbox"]
    assert set(found) == SUMMARY
    assert all(map(math.isnan, found.values()))
    assert json.loads((tmp_path / "coco_instances_results.json").read_text()) == []
    assert (
        nan_reasons(dataset, found)["AP"]
        == "nothing was detected; see MODEL.RETINANET.SCORE_THRESH_TEST"
    )


def test_nothing_found_of_one_class(dataset: Dataset) -> None:
    assert metrics(dataset, [DOG])["AP-cat"] == 0


def test_images_that_processes_share_count_once_and_in_the_order_of_the_data_set(
    dataset: Dataset, tmp_path: Path
) -> None:
    later = result(2, 5, [75, 75, 20, 20], 0.1)
    evaluate(
        dataset, [{2: [later]}, {1: [CAT, DOG], 2: [later]}], str(tmp_path), max_detections=100
    )
    assert json.loads((tmp_path / "coco_instances_results.json").read_text()) == [CAT, DOG, later]


def test_without_ground_truth_detections_are_written_and_nothing_is_measured(
    dataset: Dataset, tmp_path: Path
) -> None:
    dataset = dataclasses.replace(dataset, has_ground_truth=False)
    assert evaluate(dataset, [{1: [CAT]}], str(tmp_path), max_detections=100) == {}
    assert json.loads((tmp_path / "coco_instances_results.json").read_text()) == [CAT]


# ------------------------------------------------------------------------------------- ground truth


def perfect(dataset: Dataset) -> list[dict]:
    """Detections that equal the ground-truth boxes of training."""
    return [
        result(r["image_id"], dataset.category_ids[a["category_id"]], [x, y, x1 - x, y1 - y], 0.9)
        for r in dataset.records
        for a in r["annotations"]
        if not a["iscrowd"]
        for x, y, x1, y1 in [a["bbox"]]
    ]


ANT = {"image_id": 2, "category_id": 7}  # images are 20 x 10
REPAIRED = {
    "no height": ([3, 3, 6, 0], "1 of 3 boxes have no area and were dropped"),
    "negative width": ([9, 3, -6, 4], "1 of 3 boxes have no area and were dropped"),
    "outside": ([25, 3, 6, 4], "1 of 3 boxes lie outside their image and were dropped"),
    "reaches out": ([15, 3, 10, 4], "1 of 3 boxes reach outside their image and were clipped"),
}


@pytest.mark.parametrize(("box", "words"), REPAIRED.values(), ids=REPAIRED)
def test_boxes_that_were_dropped_or_clipped_count_as_in_training(
    tmp_path: Path, box: list[int], words: str
) -> None:
    content = changed("annotations", 0)
    content["annotations"].append({**ANT, "id": 3, "bbox": box})
    dataset = read_coco(*write_coco(tmp_path, content))
    found = metrics(dataset, perfect(dataset))
    assert found["AP"] == found["APs"] == found["AP-ant"] == pytest.approx(100)
    assert any(
        line.startswith("ground truth: ") and words in line for line in metric_notes(dataset, 100)
    )


@pytest.mark.parametrize(("area", "expected"), [(60, 20), (12, 12), (0, 20)])
def test_the_area_of_a_clipped_object_is_that_of_its_clipped_box(
    tmp_path: Path, area: int, expected: int
) -> None:
    changes = {"bbox": [15, 3, 15, 4], "area": area}
    dataset = read_coco(*write_coco(tmp_path, changed("annotations", 0, **changes)))
    assert dataset.records[0]["annotations"][0]["area"] == expected


def test_an_area_that_a_file_gives_is_kept(tmp_path: Path) -> None:
    """A mask is smaller than its box, and the sizes in COCO metrics are those of masks."""
    dataset = read_coco(
        *write_coco(tmp_path, changed("annotations", 0, bbox=[0.1, 0.2, 7.3, 9.7], area=3.5))
    )
    assert [a["area"] for a in ground_truth(dataset)["annotations"]] == [3.5, 200]


@pytest.mark.parametrize(
    "ids", [(0, 1), ("7c9e66", "51b2d0"), (1.0, 2.0)], ids=["from 0", "text", "floats"]
)
def test_ids_of_annotations_do_not_matter(tmp_path: Path, ids: tuple) -> None:
    """pycocotools treats a match with id 0 as no match, and cannot read text ids."""
    content = changed("annotations", 0, id=ids[0])
    content["annotations"][1]["id"] = ids[1]
    dataset = read_coco(*write_coco(tmp_path, content))
    assert metrics(dataset, perfect(dataset))["AP"] == pytest.approx(100)


@pytest.mark.parametrize("to_id", [str, float], ids=["text", "floats"])
def test_ids_of_images_and_categories_do_not_matter(tmp_path: Path, to_id: type) -> None:
    content = changed("annotations", 0)
    for entry in (e for entries in content.values() for e in entries):
        for key in entry.keys() & {"image_id", "category_id"}:
            entry[key] = to_id(entry[key])
    for entry in (*content["images"], *content["categories"]):
        entry["id"] = to_id(entry["id"])
    dataset = read_coco(*write_coco(tmp_path, content))
    assert metrics(dataset, json.loads(json.dumps(perfect(dataset))))["AP"] == pytest.approx(100)


# ---------------------------------------------------------------------------------- many detections


@pytest.fixture(params=["faster-coco-eval", "pycocotools", "Detectron2"])
def back_end(request: pytest.FixtureRequest) -> evaluation.BackEnd:
    """All implementations of COCO metrics that a host may use."""
    if request.param == "faster-coco-eval":
        package = pytest.importorskip("faster_coco_eval")
        return package.COCO, package.COCOeval_faster
    from pycocotools.coco import COCO

    if request.param == "pycocotools":
        from pycocotools.cocoeval import COCOeval

        return COCO, COCOeval
    module = pytest.importorskip("detectron2.evaluation.coco_evaluation", exc_type=ImportError)
    return COCO, module.COCOeval_opt


def crowded(folder: Path, count: int = 120) -> Dataset:
    """``count`` ants of 2 x 2 pixels, 10 per row, in the first of two images."""
    content = changed("annotations", 0)
    content["images"][0].update(width=100, height=100)
    content["annotations"] = [
        {"id": i, "image_id": 5, "category_id": 7, "bbox": [10 * (i % 10), 3 * (i // 10), 2, 2]}
        for i in range(count)
    ]
    return read_coco(*write_coco(folder, content))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "ap"),
    [(500, 100), (120, 100), (100, 100 * 84 / 101), (60, 100 * 51 / 101), (1, 100 / 101)],
)
def test_metrics_follow_the_limit_of_detections(
    tmp_path: Path, back_end: evaluation.BackEnd, limit: int, ap: float
) -> None:
    """Of the 101 recall levels 0, 0.01, ..., those up to the recall are reached: 100 of 120 boxes
    reach 0.83."""
    dataset = crowded(tmp_path)
    found = compute_metrics(dataset, perfect(dataset), max_detections=limit, back_end=back_end)
    for name in ("AP", "AP50", "AP75", "APs", "AP-ant"):
        assert found.precision[name] == pytest.approx(ap), name
    assert found.recall["AR"] == found.recall["ARs"] == pytest.approx(100 * min(limit, 120) / 120)
    assert math.isnan(found.recall["ARl"])


def test_too_many_boxes_are_reported(tmp_path: Path) -> None:
    dataset, cfg = crowded(tmp_path), get_cfg()
    cfg.DATASETS.TEST = (f"{dataset.json_file}@{dataset.image_root}",)
    printed = detection_limit_warnings(cfg)
    assert printed.startswith(
        f"{cfg.DATASETS.TEST[0]}: 1 of 2 images have more boxes than TEST.DETECTIONS_PER_IMAGE "
        "(100), "
    )
    assert printed.endswith(
        "up to 120. The remaining boxes cannot be found: set it to 120 or more."
    )
    assert any("set it to 120 or more" in line for line in metric_notes(dataset, 100))
    cfg.TEST.DETECTIONS_PER_IMAGE = 120
    assert detection_limit_warnings(cfg) == ""
    assert not any("set it to" in line for line in metric_notes(dataset, 120))


# ------------------------------------------------------------------------------------------ reasons


def test_reasons_for_missing_metrics(dataset: Dataset) -> None:
    found = metrics(dataset, [CAT, DOG])
    assert nan_reasons(dataset, found) == {
        "APl": "no ground truth box of at least 96x96 pixels",
        "AP-bird": "no box of this class in the data set",
    }
    table = results_table(found, nan_reasons(dataset, found), ["a note"])
    assert table.splitlines()[-5:] == [
        "AP of cat   100.0",
        "AP of dog   100.0",
        "AP of bird    nan: no box of this class in the data set",
        "APl nan: no ground truth box of at least 96x96 pixels",
        "a note",
    ]


def test_reasons_if_nothing_can_be_measured(tmp_path: Path, back_end: evaluation.BackEnd) -> None:
    crowds = read_coco(*write_coco(tmp_path / "crowds", changed("annotations", 0, category_id=3)))
    found = compute_metrics(
        crowds, [result(5, 7, [2, 3, 4, 5], 0.5)], max_detections=100, back_end=back_end
    ).precision
    assert nan_reasons(crowds, found)["AP-ant"] == "no box of this class in the data set"
    crowds = read_coco(*write_coco(tmp_path / "one", changed("annotations", 0)))
    found = compute_metrics(
        crowds, perfect(crowds), max_detections=100, back_end=back_end
    ).precision
    assert nan_reasons(crowds, found)["AP-cat"] == "only crowds of this class in the data set"
    empty = read_coco(
        *write_coco(tmp_path / "empty", {**changed("annotations", 0), "annotations": []})
    )
    found = compute_metrics(
        empty, [result(5, 7, [2, 3, 4, 5], 0.5)], max_detections=100, back_end=back_end
    ).precision
    assert set(nan_reasons(empty, found)) == SUMMARY | {"AP-cat", "AP-ant"}
    assert set(nan_reasons(empty, found).values()) == {"no ground truth box in the data set"}
    table = results_table(found, nan_reasons(empty, found))
    assert table.endswith(
        "\nAP, AP50, AP75, APs, APm, APl nan: no ground truth box in the data set"
    )
    empty = read_coco(*write_coco(tmp_path / "crowd", changed("annotations", 0, iscrowd=1)))
    assert nan_reasons(empty, {"AP": math.nan}) == {
        "AP": "no ground truth box other than crowds in the data set"
    }


@pytest.mark.parametrize("area", [0, None], ids=["0", "missing"])
def test_sizes_that_come_from_boxes_are_counted(tmp_path: Path, area: int | None) -> None:
    content = changed("annotations", 0, bbox=[0, 0, 20, 10], area=area)
    content["annotations"][1]["area"] = 200
    dataset = read_coco(*write_coco(tmp_path, content))
    assert metrics(dataset, perfect(dataset))["APs"] == pytest.approx(100)
    [note] = metric_notes(dataset, 100)
    assert note.startswith("ground truth: 1 boxes have no area or area 0 in ")
