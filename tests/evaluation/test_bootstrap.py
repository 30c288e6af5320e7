"""Resampled AP, against pycocotools on the same images written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from retina_plugin.data import Dataset
from retina_plugin.evaluation.bootstrap import (
    Interval,
    average_precisions,
    interval_of,
    resample,
)
from retina_plugin.evaluation.coco import compute_metrics
from retina_plugin.evaluation.matches import Matches, match_detections
from tests.random_detections import box, dataset_of, random_scene, result


def matched(dataset: Dataset, results: list[dict[str, Any]]) -> Matches:
    return match_detections(dataset, results, max_detections=100)


def coco_metrics(dataset: Dataset, results: list[dict[str, Any]]) -> dict[str, float]:
    back_end = (COCO, COCOeval)
    return compute_metrics(dataset, results, max_detections=100, back_end=back_end).precision


def written_out(
    dataset: Dataset, results: list[dict[str, Any]], weights: np.ndarray
) -> tuple[Dataset, list[dict[str, Any]]]:
    """A data set in which each image occurs as often as its weight says."""
    numbers = np.repeat(np.arange(len(weights)), weights)
    repeated = dataset_of([dataset.records[n]["annotations"] for n in numbers])
    return repeated, [
        {**r, "image_id": copy}
        for copy, number in enumerate(numbers, start=1)
        for r in results
        if r["image_id"] == number + 1
    ]


@pytest.mark.parametrize("seed", range(4))
def test_ap_of_the_data_set_and_of_resamples_is_that_of_pycocotools(seed: int) -> None:
    dataset, results = random_scene(seed)
    rng = np.random.default_rng(seed)
    weights = np.stack([np.ones(8, int), *rng.multinomial(8, np.full(8, 1 / 8), size=3)])
    precisions = average_precisions(matched(dataset, results), weights)
    for row, found in zip(weights, precisions, strict=True):
        expected = coco_metrics(*written_out(dataset, results, row))
        of_classes = [expected[f"AP-{name}"] for name in dataset.class_names]
        np.testing.assert_allclose(found.mean(axis=0), of_classes, atol=1e-6)
        assert np.nanmean(found) == pytest.approx(expected["AP"], abs=1e-6)
        assert np.nanmean(found[0]) == pytest.approx(expected["AP50"], abs=1e-6)


def test_equal_scores_are_sorted_as_by_pycocotools() -> None:
    dataset, results = random_scene(0, digits=1)
    found = average_precisions(matched(dataset, results), np.ones((1, 8), dtype=int))
    assert np.nanmean(found) == pytest.approx(coco_metrics(dataset, results)["AP"], abs=1e-6)


def test_the_mean_of_the_resamples_is_ap() -> None:
    dataset, results = random_scene(1)
    found, expected = resample(matched(dataset, results)), coco_metrics(dataset, results)
    assert found is not None
    assert found.images == 8
    assert found.ap.mean() == pytest.approx(expected["AP"], abs=1e-6)
    assert found.ap50.mean() == pytest.approx(expected["AP50"], abs=1e-6)
    assert np.nanmean(found.of_classes[:, 0]) == pytest.approx(expected["AP-cat"], abs=1e-6)
    interval = interval_of(found.ap)
    assert interval is not None
    assert 0 <= interval.low < expected["AP"] < interval.high <= 100
    again = resample(matched(dataset, results))
    assert again is not None
    assert again.ap.tolist() == found.ap.tolist()


def test_the_interval_of_half_found_images() -> None:
    """Of 100 images with one box each, 50 are found. AP of a resample is the fraction found, in
    steps of the 101 recalls. Its standard deviation is 5 percent: the interval is 10 to each side.
    """
    here = [10, 10, 20, 20]
    dataset = dataset_of([[box(0, here)]] * 100)
    results = [result(image, 0, here, 0.9) for image in range(1, 51)]
    found = resample(matched(dataset, results), count=2000)
    assert found is not None
    interval = interval_of(found.ap)
    assert interval is not None
    assert interval.low == pytest.approx(40.5, abs=1.5)
    assert interval.high == pytest.approx(60.5, abs=1.5)


def test_perfect_and_empty() -> None:
    here = [10, 10, 20, 20]
    dataset = dataset_of([[box(0, here)], [box(0, here)], [box(1, here)], []])
    perfect = [result(r, c, here, 0.9) for r, c in ((1, 0), (2, 0), (3, 1))]
    found = resample(matched(dataset, perfect), count=50)
    assert found is not None
    assert interval_of(found.ap) == Interval(100, 100)
    assert np.isnan(found.of_classes[:, 1]).any()  # a resample without the dog
    assert np.isnan(found.of_classes[:, 2]).all()
    nothing = resample(matched(dataset, []), count=50)
    assert nothing is not None
    assert interval_of(nothing.ap) == Interval(0, 0)
    without_boxes = resample(matched(dataset_of([[], []]), []), count=50)
    assert without_boxes is not None
    assert interval_of(without_boxes.ap) is None


@pytest.mark.parametrize("images", [0, 1])
def test_one_image_has_no_interval(images: int) -> None:
    dataset = dataset_of([[box(0, [10, 10, 20, 20])]] * images)
    assert resample(matched(dataset, [])) is None
