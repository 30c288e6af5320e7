"""Operating point and confusion matrix: tables by hand, and against supervision."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from retina_plugin.evaluation.confusion import confusion_matrix
from retina_plugin.evaluation.matching import match
from retina_plugin.evaluation.operating_point import (
    kept_detections,
    operating_point,
    threshold_array,
)
from retina_plugin.evaluation.overlaps import compute_overlaps
from tests.random_detections import box, dataset_of, random_scene, result

A, NEAR_A, FAR = [10, 10, 20, 20], [14, 10, 20, 20], [70, 70, 20, 20]
CAT, DOG, BIRD, NOTHING = range(4)
THRESHOLDS = np.array([0.5, 0.3, math.inf])

# boxes and detections of one image -> {(true, detected): count}
CASES: dict[str, tuple[list[Any], list[Any], dict[tuple[int, int], int]]] = {
    "found": ([(CAT, A)], [(CAT, A, 0.5)], {(CAT, CAT): 1}),
    "below the threshold of its class": ([(CAT, A)], [(CAT, A, 0.4)], {(CAT, NOTHING): 1}),
    "a class without a threshold": ([(BIRD, A)], [(BIRD, A, 1.0)], {(BIRD, NOTHING): 1}),
    "another class": ([(CAT, A)], [(DOG, A, 0.4)], {(CAT, DOG): 1}),
    "background": ([], [(DOG, A, 0.4)], {(NOTHING, DOG): 1}),
    "the own class comes before a higher IoU": (
        [(CAT, A)],
        [(DOG, A, 0.9), (CAT, NEAR_A, 0.6)],
        {(CAT, CAT): 1, (NOTHING, DOG): 1},
    ),
    "a second detection": (
        [(CAT, A)],
        [(CAT, A, 0.9), (CAT, NEAR_A, 0.6)],
        {(CAT, CAT): 1, (NOTHING, CAT): 1},
    ),
    "each box once, also of another class": (
        [(CAT, A)],
        [(DOG, A, 0.4), (DOG, NEAR_A, 0.9)],
        {(CAT, DOG): 1, (NOTHING, DOG): 1},
    ),
    "nothing at all": ([], [], {}),
}


@pytest.mark.parametrize("case", CASES)
def test_matrix_by_hand(case: str) -> None:
    boxes, detections, counts = CASES[case]
    expected = np.zeros((4, 4), dtype=int)
    for place, count in counts.items():
        expected[place] = count
    results = [result(1, *d) for d in detections]
    overlaps = compute_overlaps(dataset_of([[box(*b) for b in boxes]]), results, max_detections=9)
    found = confusion_matrix(overlaps, match(overlaps, (0.5,)), THRESHOLDS)
    assert found.tolist() == expected.tolist()


def test_crowds_and_detections_in_them_are_left_out() -> None:
    dataset = dataset_of([[box(CAT, FAR, crowd=True)]])
    overlaps = compute_overlaps(dataset, [result(1, CAT, FAR, 0.9)], max_detections=9)
    assert not confusion_matrix(overlaps, match(overlaps, (0.5,)), THRESHOLDS).any()


@pytest.mark.parametrize("seed", range(4))
def test_the_matrix_agrees_with_precision_and_recall(seed: int) -> None:
    dataset, results = random_scene(seed)
    thresholds = np.array([0.3, 0.5, 0.7])
    overlaps = compute_overlaps(dataset, results, max_detections=100)
    matching = match(overlaps, (0.5,))
    matrix = confusion_matrix(overlaps, matching, thresholds)
    point = operating_point(overlaps, matching, thresholds)
    diagonal = matrix.diagonal()[:3]
    assert diagonal.tolist() == point.found.tolist()
    assert (matrix.sum(axis=0)[:3] - diagonal).tolist() == point.wrong.tolist()
    assert (matrix.sum(axis=1)[:3] - diagonal).tolist() == point.missed.tolist()
    np.testing.assert_allclose(point.precision, diagonal / matrix.sum(axis=0)[:3])
    np.testing.assert_allclose(point.recall, diagonal / matrix.sum(axis=1)[:3])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_the_matrix_is_that_of_supervision(seed: int) -> None:
    """There are no crowds here. supervision also prefers pairs of the same class, but it takes the
    highest IoU among them instead of the best score."""
    supervision = pytest.importorskip("supervision", minversion="0.29")
    dataset, results = random_scene(seed)
    for record in dataset.records:
        record["annotations"] = [a for a in record["annotations"] if not a["iscrowd"]]
    overlaps = compute_overlaps(dataset, results, max_detections=100)
    found = confusion_matrix(overlaps, match(overlaps, (0.5,)), np.full(3, 0.4))
    kept = kept_detections(overlaps, np.full(3, 0.4))
    predictions, targets = [], []
    for number, record in enumerate(dataset.records):
        of_image = kept & (overlaps.detection_images == number)
        columns = (overlaps.labels[of_image], overlaps.scores[of_image])
        predictions.append(np.column_stack([overlaps.corners[of_image], *columns]))
        rows = [[*a["bbox"], a["category_id"]] for a in record["annotations"]]
        targets.append(np.array(rows, dtype=float).reshape(-1, 5))
    expected = supervision.ConfusionMatrix.from_tensors(
        predictions, targets, list(dataset.class_names), conf_threshold=0.0, iou_threshold=0.5
    )
    assert found.tolist() == expected.matrix.astype(int).tolist()


def test_operating_point_by_hand() -> None:
    dataset = dataset_of([[box(CAT, A), box(CAT, FAR), box(DOG, A)]])
    results = [result(1, CAT, A, 0.9), result(1, CAT, NEAR_A, 0.6), result(1, DOG, A, 0.2)]
    overlaps = compute_overlaps(dataset, results, max_detections=9)
    point = operating_point(overlaps, match(overlaps, (0.5,)), THRESHOLDS)
    assert point.found.tolist() == [1, 0, 0]
    assert point.wrong.tolist() == [1, 0, 0]
    assert point.missed.tolist() == [1, 1, 0]
    np.testing.assert_array_equal(point.precision, [0.5, math.nan, math.nan])
    np.testing.assert_array_equal(point.recall, [0.5, 0.0, math.nan])
    np.testing.assert_array_equal(point.f1, [0.5, 0.0, math.nan])


def test_thresholds_of_a_checkpoint() -> None:
    found = threshold_array(("cat", "dog"), {"dog": 0.4, "other": 0.1})
    assert found.tolist() == [math.inf, 0.4]
