"""Likely errors of annotations: each kind by hand, and errors that were made on purpose."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from retina_plugin.data import Dataset
from retina_plugin.evaluation.error_kinds import find_errors
from retina_plugin.evaluation.label_errors import LabelError, find_label_errors, image_of
from retina_plugin.evaluation.matching import match
from retina_plugin.evaluation.overlaps import compute_overlaps
from tests.random_detections import box, dataset_of, result

A, FAR, OFF_FAR = [10, 10, 20, 20], [70, 70, 20, 20], [70, 60, 20, 20]  # IoU 1 / 3
CAT, DOG = 0, 1


def find(dataset: Dataset, results: list[Any], threshold: float = 0.5) -> list[LabelError]:
    overlaps = compute_overlaps(dataset, results, max_detections=100)
    matching = match(overlaps, (0.5,))
    errors = find_errors(overlaps, matching)
    return find_label_errors(overlaps, matching, errors, np.full(3, threshold))


# A is always found by a cat of score 0.8 and a dog of score 0.6, the confident scores.
# more boxes and detections of the image -> kind, suspicion, box
CASES: dict[str, tuple[list[Any], list[Any], list[tuple[str, float, int]]]] = {
    "agreement": ([(CAT, FAR)], [(CAT, FAR, 0.8)], []),
    "overlooked": ([], [(CAT, FAR, 0.9)], [("overlooked", 0.9, -1)]),
    "overlooked, twice in one place": (
        [],
        [(CAT, FAR, 0.9), (DOG, FAR, 0.7)],
        [("overlooked", 0.9, -1)],
    ),
    "below the confident score of cats": ([], [(CAT, FAR, 0.7)], []),
    "above the confident score of dogs": ([], [(DOG, FAR, 0.7)], [("overlooked", 0.7, -1)]),
    "wrong class": ([(CAT, FAR)], [(DOG, FAR, 0.7)], [("wrong class", 0.7, 2)]),
    "another class, but the box is accepted": (
        [(CAT, FAR)],
        [(DOG, FAR, 0.7), (CAT, FAR, 0.8)],
        [],
    ),
    "its class is below the operating point": (
        [(CAT, FAR)],
        [(DOG, FAR, 0.7), (CAT, FAR, 0.4)],
        [("wrong class", 0.7, 2)],
    ),
    "misplaced": ([(CAT, FAR)], [(CAT, OFF_FAR, 0.9)], [("misplaced", 0.9, 2)]),
    "spurious: half of the small cats are accepted": (
        [(CAT, FAR)],
        [],
        [("spurious", 0.5, 2)],
    ),
    "a low score covers the box": ([(CAT, FAR)], [(DOG, FAR, 0.1)], []),
}


@pytest.mark.parametrize("case", CASES)
def test_kinds_by_hand(case: str) -> None:
    boxes, detections, expected = CASES[case]
    dataset = dataset_of([[box(CAT, A), box(DOG, A), *(box(*b) for b in boxes)]])
    results = [result(1, CAT, A, 0.8), result(1, DOG, A, 0.6), *(result(1, *d) for d in detections)]
    if case == "agreement":
        results[-1]["score"] = 0.8
    found = find(dataset, results)
    assert [(e.kind, e.suspicion, e.box) for e in found] == expected


def test_errors_made_on_purpose_are_found() -> None:
    """A perfect model, and annotations with one error of each kind in 20 images of two boxes."""
    clean = dataset_of([[box(CAT, A), box(DOG, FAR)] for _ in range(20)])
    results = [result(i, CAT, A, 0.9) for i in range(1, 21)]
    results += [result(i, DOG, FAR, 0.9) for i in range(1, 21)]
    broken = copy.deepcopy(clean)
    records = broken.records
    records[1]["annotations"][0]["category_id"] = DOG
    records[2]["annotations"].pop(0)
    records[3]["annotations"].append(box(CAT, [10, 60, 20, 20]))
    records[4]["annotations"][1] = box(DOG, OFF_FAR)
    assert find(clean, results) == []
    overlaps = compute_overlaps(broken, results, max_detections=100)
    found = {(error.kind, image_of(error, overlaps)) for error in find(broken, results)}
    assert found == {("wrong class", 1), ("overlooked", 2), ("spurious", 3), ("misplaced", 4)}
