"""Thresholds by F1: tables by hand, and against a search over all thresholds with pycocotools."""

from __future__ import annotations

from typing import Any

import pytest

from retina_plugin.data import Dataset
from retina_plugin.evaluation.matches import match_detections
from retina_plugin.evaluation.thresholds import Threshold, score_thresholds
from tests.evaluation.test_matches import coco_matches
from tests.random_detections import box, dataset_of, random_scene, result

BOXES = [[10, 10, 20, 20], [40, 10, 20, 20], [70, 10, 20, 20], [10, 60, 20, 20]]
WRONG = [60, 60, 30, 30]

# score and box of the detections, of 4 boxes -> threshold and F1
CASES = {
    "all boxes found, one wrong in between: 2 x 4 / (5 + 4)": (
        [(0.9, 0), (0.8, 1), (0.7, None), (0.6, 2), (0.5, 3)],
        (0.5, 8 / 9),
    ),
    "a wrong one after the last found is cut off": (
        [(0.9, 0), (0.8, 1), (0.7, 2), (0.6, 3), (0.5, None)],
        (0.6, 1),
    ),
    "equal F1 (2 x 2 / (2 + 4), 2 x 3 / (5 + 4)): the higher threshold": (
        [(0.9, 0), (0.8, 1), (0.7, None), (0.6, None), (0.5, 2)],
        (0.8, 2 / 3),
    ),
    "equal scores are kept or dropped together: 2 x 1 / (2 + 4)": (
        [(0.5, 0), (0.5, None)],
        (0.5, 1 / 3),
    ),
    "a second detection of a box is wrong: 2 x 1 / (1 + 4)": ([(0.9, 0), (0.8, 0)], (0.9, 2 / 5)),
}


def choose(dataset: Dataset, results: list[dict[str, Any]]) -> dict[str, Threshold]:
    return score_thresholds(match_detections(dataset, results, max_detections=100))


@pytest.mark.parametrize("case", CASES)
def test_by_hand(case: str) -> None:
    detections, (score, f1) = CASES[case]
    results = [result(1, 0, WRONG if i is None else BOXES[i], s) for s, i in detections]
    found = choose(dataset_of([[box(0, b) for b in BOXES]]), results[::-1])["cat"]
    assert found.score == score
    assert found.f1 == pytest.approx(f1)
    assert found.reason == ""


def test_crowds_and_detections_in_them_do_not_count() -> None:
    dataset = dataset_of([[box(0, BOXES[0]), box(0, WRONG, crowd=True)]])
    results = [result(1, 0, WRONG, 0.9), result(1, 0, BOXES[0], 0.5)]
    assert choose(dataset, results)["cat"] == Threshold(0.5, 1.0)


def test_reasons_for_no_threshold() -> None:
    dataset = dataset_of([[box(0, BOXES[0]), box(1, BOXES[0]), box(2, WRONG, crowd=True)]])
    found = choose(dataset, [result(1, 1, WRONG, 0.9), result(1, 2, WRONG, 0.9)])
    assert {name: (t.score, t.reason) for name, t in found.items()} == {
        "cat": (None, "no detection"),
        "dog": (None, "no detection that finds a box"),
        "bird": (None, "no box"),
    }
    assert choose(dataset_of([[]]), [])["cat"] == Threshold(None, reason="no box")


@pytest.mark.parametrize("digits", [6, 1])
@pytest.mark.parametrize("seed", range(4))
def test_no_threshold_is_better(seed: int, digits: int) -> None:
    """For each threshold, the detections below it are dropped and pycocotools matches the rest."""
    dataset, results = random_scene(seed, digits=digits)
    for number, (name, found) in enumerate(choose(dataset, results).items()):
        of_class = [r for r in results if dataset.category_ids.index(r["category_id"]) == number]
        f1_of = {
            score: coco_f1(dataset, [r for r in of_class if r["score"] >= score], number)
            for score in {r["score"] for r in of_class}
        }
        best = max(f1_of.values())
        assert found.f1 == pytest.approx(best), name
        assert found.score == max(s for s, f1 in f1_of.items() if f1 == pytest.approx(best))


def coco_f1(dataset: Dataset, results: list[dict[str, Any]], class_index: int) -> float:
    matched = coco_matches(dataset, results, class_index, max_detections=100)
    boxes = sum(
        a["category_id"] == class_index and not a["iscrowd"]
        for record in dataset.records
        for a in record["annotations"]
    )
    return 2 * matched["hits"][0].sum() / ((~matched["ignored"][0]).sum() + boxes)
