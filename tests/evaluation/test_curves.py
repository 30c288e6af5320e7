"""Curves, calibration and oLRP: tables by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from retina_plugin.evaluation.calibration import calibration_of
from retina_plugin.evaluation.curves import curve_of, mean_curve
from retina_plugin.evaluation.lrp import LRP, mean_lrp, optimal_lrp
from retina_plugin.evaluation.matches import Matches, match_detections
from retina_plugin.evaluation.matching import match
from retina_plugin.evaluation.overlaps import compute_overlaps
from retina_plugin.evaluation.thresholds import score_thresholds
from tests.random_detections import box, dataset_of, random_scene, result

A, B, C = [10, 10, 20, 20], [40, 10, 20, 20], [10, 60, 20, 20]
NEAR_A, WRONG = [14, 10, 20, 20], [70, 70, 20, 20]  # IoU 16 / 24 with A


def matches(detections: list[tuple[list[float], float]], *, images: int = 1) -> Matches:
    dataset = dataset_of([[box(0, b) for b in (A, B)]] * images)
    return match_detections(
        dataset, [result(1, 0, *d) for d in detections], max_detections=100, iou_thresholds=(0.5,)
    )


def test_curve_by_hand() -> None:
    curve = curve_of(matches([(A, 0.9), (WRONG, 0.8), (B, 0.8), (C, 0.3)]), 0)
    assert curve is not None
    assert curve.scores.tolist() == [0.9, 0.8, 0.3]
    np.testing.assert_allclose(curve.precision, [1, 2 / 3, 1 / 2])
    np.testing.assert_allclose(curve.recall, [1 / 2, 1, 1])
    np.testing.assert_allclose(curve.f1, [2 / 3, 4 / 5, 2 / 3])
    at = np.array([1.0, 0.9, 0.85, 0.8, 0.1])
    expected = np.array([0, 2 / 3, 2 / 3, 4 / 5, 2 / 3])
    np.testing.assert_allclose(mean_curve([curve], at, classes=1), expected)
    # nothing was detected of a second class
    np.testing.assert_allclose(mean_curve([curve], at, classes=2), expected / 2)


def test_no_curve_without_boxes_or_detections() -> None:
    assert curve_of(matches([]), 0) is None
    assert curve_of(matches([(A, 0.9)]), 1) is None


@pytest.mark.parametrize("digits", [6, 1])
def test_the_highest_f1_is_at_the_chosen_threshold(digits: int) -> None:
    dataset, results = random_scene(0, digits=digits)
    found = match_detections(dataset, results, max_detections=100, iou_thresholds=(0.5,))
    for number, threshold in enumerate(score_thresholds(found).values()):
        curve = curve_of(found, number)
        assert curve is not None
        assert curve.f1.max() == pytest.approx(threshold.f1)
        assert curve.scores[curve.f1.argmax()] == threshold.score


def test_calibration_by_hand() -> None:
    """Bins of 0.5: two of score 0.2 with one hit, and two of scores 0.5 and 0.9 with two hits."""
    found = calibration_of(matches([(A, 0.2), (WRONG, 0.2), (B, 0.5), (NEAR_A, 0.9)]), bins=2)
    assert found.counts.tolist() == [2, 2]
    np.testing.assert_allclose(found.scores, [0.2, 0.7])
    # A is found by the detection with score 0.9, so both with score 0.2 are wrong
    np.testing.assert_allclose(found.precision, [0, 1])
    assert found.error == pytest.approx((2 * 0.2 + 2 * 0.3) / 4)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_calibration_is_that_of_netcal(seed: int) -> None:
    metrics = pytest.importorskip("netcal.metrics")
    dataset, results = random_scene(seed)
    found = match_detections(dataset, results, max_detections=100, iou_thresholds=(0.5,))
    counted = ~found.ignored[0]
    scores, hits = found.scores[counted], found.hits[0, counted]
    expected = metrics.ECE(bins=10, detection=True).measure(scores, hits.astype(int))
    assert calibration_of(found).error == pytest.approx(expected)


def test_a_score_of_1_is_in_the_last_bin() -> None:
    found = calibration_of(matches([(A, 1.0)]))
    assert found.counts.tolist() == [0] * 9 + [1]
    assert found.error == 0
    assert math.isnan(calibration_of(matches([])).error)


def lrp(detections: list[tuple[list[float], float]], boxes: list[list[float]]) -> LRP:
    dataset = dataset_of([[box(0, b) for b in boxes]])
    results: list[Any] = [result(1, 0, *d) for d in detections]
    overlaps = compute_overlaps(dataset, results, max_detections=100)
    return optimal_lrp(overlaps, match(overlaps, (0.5,)))[0]


def test_lrp_by_hand() -> None:
    """At 0.9: A found with IoU 2 / 3, B missed: (2/3 + 1) / 2. At 0.5: one wrong, B found exactly:
    (2/3 + 0 + 1) / 3, the lowest."""
    found = lrp([(NEAR_A, 0.9), (WRONG, 0.7), (B, 0.5), (WRONG, 0.3)], [A, B])
    assert found == pytest.approx(LRP(5 / 9, 0.5, 1 / 6, 1 / 3, 0))


@pytest.mark.parametrize(
    ("detections", "boxes", "error"),
    [
        ([(A, 0.9), (B, 0.8)], [A, B], 0.0),
        ([], [A], 1.0),
        ([(WRONG, 0.9)], [A], 1.0),
        ([(WRONG, 0.9)], [], math.nan),
    ],
    ids=["perfect", "nothing detected", "nothing found", "no boxes"],
)
def test_lrp_at_its_limits(detections: list[Any], boxes: list[Any], error: float) -> None:
    assert lrp(detections, boxes).error == pytest.approx(error, nan_ok=True)


def test_mean_lrp_leaves_out_classes_without_boxes() -> None:
    assert mean_lrp([LRP(0.2), LRP(math.nan), LRP(0.4)]) == pytest.approx(0.3)
    assert math.isnan(mean_lrp([LRP(math.nan)]))


@pytest.mark.parametrize("seed", range(3))
def test_no_threshold_has_a_lower_lrp(seed: int) -> None:
    dataset, results = random_scene(seed, digits=2)
    overlaps = compute_overlaps(dataset, results, max_detections=100)
    found = optimal_lrp(overlaps, match(overlaps, (0.5,)))
    for number, one in enumerate(found):
        of_class = [r for r in results if dataset.category_ids.index(r["category_id"]) == number]
        for score in sorted({r["score"] for r in of_class}):
            kept = [r for r in of_class if r["score"] >= score]
            assert one.error <= lrp_of_all(dataset, kept, number) + 1e-12


def lrp_of_all(dataset: Any, results: list[Any], class_index: int) -> float:
    """LRP of a class if all results are kept, from its definition."""
    overlaps = compute_overlaps(dataset, results, max_detections=100)
    matching = match(overlaps, (0.5,))
    iou = {
        (d, b): v
        for d, b, v in zip(overlaps.pair_detections, overlaps.pair_boxes, overlaps.iou, strict=True)
    }
    hits = matching.hits[0].nonzero()[0]
    distance = sum(1 - iou[d, matching.found[0, d]] for d in hits)
    wrong = int((~matching.hits[0] & ~matching.ignored[0]).sum())
    boxes = int((matching.counted & (overlaps.box_labels == class_index)).sum())
    return (2 * distance + wrong + boxes - len(hits)) / (wrong + boxes)
