"""Kinds of errors and their costs: by hand for each kind, and against TIDE's code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from retina_plugin.data import Dataset
from retina_plugin.evaluation.error_costs import ErrorCosts, error_costs
from retina_plugin.evaluation.error_kinds import KINDS, Errors, find_errors
from retina_plugin.evaluation.matching import match
from retina_plugin.evaluation.overlaps import Overlaps, compute_overlaps
from tests.random_detections import CATEGORY_IDS, box, dataset_of, random_scene, result

A, FAR = [10, 10, 20, 20], [70, 70, 20, 20]
NEAR_A = [14, 10, 20, 20]  # IoU 16 / 24 = 0.67 with A
OFF_A = [20, 10, 20, 20]  # IoU 10 / 30 = 0.33 with A
EDGE_A = [29, 10, 20, 20]  # IoU 1 / 39 = 0.03 with A
CAT, DOG, BIRD = range(3)

# boxes and detections of one image -> kind of each detection, best score first, and missed boxes
CASES: dict[str, tuple[list[Any], list[Any], list[str], list[bool]]] = {
    "a hit": ([(CAT, A)], [(CAT, A, 0.9)], ["none"], [False]),
    "no boxes: background": ([], [(CAT, A, 0.9)], ["background"], []),
    "far from every box": (
        [(CAT, A)],
        [(CAT, A, 0.9), (CAT, FAR, 0.8)],
        ["none", "background"],
        [False],
    ),
    "IoU below 0.1": ([(CAT, A)], [(CAT, EDGE_A, 0.9)], ["background"], [True]),
    "IoU of 0.33 with its class": ([(CAT, A)], [(CAT, OFF_A, 0.9)], ["misplaced"], [False]),
    "IoU of 0.33 with a found box": (
        [(CAT, A)],
        [(CAT, A, 0.9), (CAT, OFF_A, 0.8)],
        ["none", "misplaced"],
        [False],
    ),
    "IoU of 1 with another class": ([(CAT, A)], [(DOG, A, 0.9)], ["wrong class"], [False]),
    "IoU of 0.33 with another class": ([(CAT, A)], [(DOG, OFF_A, 0.9)], ["both"], [True]),
    "a second detection of a box": (
        [(CAT, A)],
        [(CAT, A, 0.9), (CAT, NEAR_A, 0.8)],
        ["none", "duplicate"],
        [False],
    ),
    "misplaced is tested before wrong class": (
        [(CAT, A), (DOG, OFF_A)],
        [(DOG, A, 0.9)],
        ["misplaced"],
        [True, False],
    ),
    "wrong class is tested before duplicate": (
        [(CAT, A), (DOG, A)],
        [(CAT, A, 0.9), (CAT, NEAR_A, 0.8)],
        ["none", "wrong class"],
        [False, False],
    ),
    "nothing was detected": ([(CAT, A)], [], [], [True]),
}


def split(dataset: Dataset, results: list[Any]) -> tuple[Overlaps, Errors, ErrorCosts]:
    overlaps = compute_overlaps(dataset, results, max_detections=100)
    matching = match(overlaps, (0.5,))
    errors = find_errors(overlaps, matching)
    return overlaps, errors, error_costs(overlaps, matching, errors)


@pytest.mark.parametrize("case", CASES)
def test_kinds_by_hand(case: str) -> None:
    boxes, detections, kinds, missed = CASES[case]
    _, errors, costs = split(
        dataset_of([[box(*b) for b in boxes]]), [result(1, *d) for d in detections]
    )
    assert [("none", *KINDS)[kind + 1] for kind in errors.kinds] == kinds
    assert errors.missed.tolist() == missed
    assert costs.counts.sum() == len(kinds) - kinds.count("none") + sum(missed)


def test_detections_in_crowds_are_no_errors() -> None:
    dataset = dataset_of([[box(CAT, FAR, crowd=True), box(CAT, A)]])
    _, errors, costs = split(dataset, [result(1, CAT, FAR, 0.9), result(1, DOG, FAR, 0.8)])
    assert errors.kinds.tolist() == [-1, KINDS.index("background")]
    assert errors.missed.tolist() == [False, True]
    assert costs.counts[-1].tolist() == [1, 0, 0]


# two cats and the detections -> AP50 of cats, and the only cost above 0, by hand. Each has one hit
# with recall 1 / 2, which 51 of 101 points reach.
TWO = [(CAT, A), (CAT, FAR)]
HALF = 100 * 51 / 101
COSTS: dict[str, tuple[list[Any], float, str, float]] = {
    "missed": ([(CAT, A, 0.9)], HALF, "missed", 100 - HALF),
    "misplaced": (
        [(CAT, A, 0.9), (CAT, [80, 70, 20, 20], 0.8)],
        HALF,
        "misplaced",
        100 - HALF,
    ),
    "background above the hits: precision 1 / 2 and 2 / 3 become 1": (
        [(CAT, [10, 70, 20, 20], 0.9), (CAT, A, 0.8), (CAT, FAR, 0.7)],
        100 * 2 / 3,
        "background",
        100 / 3,
    ),
    "a duplicate between the hits: precision 2 / 3 becomes 1 for 50 points": (
        [(CAT, A, 0.9), (CAT, NEAR_A, 0.8), (CAT, FAR, 0.7)],
        HALF + 100 * 50 / 101 * 2 / 3,
        "duplicate",
        100 * 50 / 101 / 3,
    ),
}


@pytest.mark.parametrize("case", COSTS)
def test_costs_by_hand(case: str) -> None:
    detections, ap, kind, cost = COSTS[case]
    _, _, costs = split(dataset_of([[box(*b) for b in TWO]]), [result(1, *d) for d in detections])
    assert costs.ap50[CAT] == pytest.approx(ap)
    expected = {name: cost if name == kind else 0.0 for name in KINDS}
    assert dict(zip(KINDS, costs.of_classes[:, CAT], strict=True)) == pytest.approx(expected)
    assert dict(zip(KINDS, costs.total, strict=True)) == pytest.approx(expected)
    assert np.isnan(costs.of_classes[:, BIRD]).all()


def test_a_wrong_class_costs_in_both_classes() -> None:
    """The dog at A is detected as a cat with the highest score: precision of cats is 1 / 2."""
    dataset = dataset_of([[box(DOG, A), box(CAT, FAR)]])
    _, _, costs = split(dataset, [result(1, CAT, A, 0.9), result(1, CAT, FAR, 0.8)])
    row = costs.of_classes[KINDS.index("wrong class")]
    assert row[:2] == pytest.approx([50, 100])
    assert costs.total[KINDS.index("wrong class")] == pytest.approx(75)


def test_only_the_best_error_about_a_box_is_corrected() -> None:
    """A wrong class with score 0.9 finds the box, and a misplaced detection with 0.8 is removed."""
    dataset = dataset_of([[box(CAT, A)]])
    _, errors, costs = split(dataset, [result(1, DOG, A, 0.9), result(1, CAT, OFF_A, 0.8)])
    assert errors.fixable.tolist() == [True, False]
    assert costs.total.tolist() == pytest.approx([100, 0, 0, 0, 0, 0])


def test_a_class_that_is_always_missed_loses_its_whole_ap() -> None:
    _, _, costs = split(dataset_of([[box(CAT, A)]]), [])
    assert costs.of_classes[KINDS.index("missed"), CAT] == 100


def test_no_boxes_at_all() -> None:
    _, errors, costs = split(dataset_of([[]]), [result(1, CAT, A, 0.5)])
    assert errors.kinds.tolist() == [KINDS.index("background")]
    assert np.isnan(costs.ap50).all()


@pytest.mark.parametrize("seed", range(6))
def test_costs_are_those_of_tidecv(seed: int) -> None:
    """There are no crowds here, because the rules for them differ."""
    tidecv = pytest.importorskip("tidecv")
    dataset, results = random_scene(seed, images=12)
    for record in dataset.records:
        record["annotations"] = [a for a in record["annotations"] if not a["iscrowd"]]
    truth, found = tidecv.Data("truth"), tidecv.Data("found")
    for index, name in enumerate(dataset.class_names):
        truth.add_class(index, name)
    for record in dataset.records:
        truth.add_image(record["image_id"], record["file_name"])
        for entry in record["annotations"]:
            x0, y0, x1, y1 = entry["bbox"]
            xywh = [x0, y0, x1 - x0, y1 - y0]
            truth.add_ground_truth(record["image_id"], entry["category_id"], box=xywh)
    for entry in results:
        label = CATEGORY_IDS.index(entry["category_id"])
        found.add_detection(entry["image_id"], label, entry["score"], box=entry["bbox"])
    run = tidecv.TIDE(pos_threshold=0.5, background_threshold=0.1).evaluate(truth, found)
    names = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")
    expected = {error.short_name: cost for error, cost in run.fix_main_errors().items()}
    counts = {error.short_name: count for error, count in run.count_errors().items()}
    _, _, costs = split(dataset, results)
    # its grid of recalls is n / 100 and COCO's is linspace, so recalls on the grid may be rounded
    # to different sides; this moves one of 101 points
    close = dict(abs=0.2)
    assert np.nanmean(costs.ap50) == pytest.approx(run.ap, **close)
    assert costs.counts.sum(axis=1).tolist() == [counts[name] for name in names]
    assert costs.total.tolist() == pytest.approx([expected[name] for name in names], **close)
