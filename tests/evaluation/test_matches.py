"""Matches of detections: by hand, and against pycocotools."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from retina_plugin.data import Dataset
from retina_plugin.evaluation.coco import ground_truth
from retina_plugin.evaluation.matches import (
    IOU_THRESHOLDS,
    match_detections,
    matches_of,
    merge,
)
from retina_plugin.evaluation.matching import match
from retina_plugin.evaluation.overlaps import compute_overlaps
from retina_plugin.evaluation.sizes import RANGES
from tests.random_detections import CATEGORY_IDS, box, dataset_of, random_scene, result

A, NEAR_A, HALF_A = [10, 10, 20, 20], [12, 10, 20, 20], [10, 10, 20, 11]  # IoU 1, 0.82, 0.55
CROWD, IN_CROWD = [50, 50, 40, 40], [55, 55, 10, 10]

# (boxes, detections) of cats in one image -> hit and ignored for each detection, best score first
CASES = {
    "the best score takes the box": (
        [box(0, A)],
        [result(1, 0, A, 0.5), result(1, 0, NEAR_A, 0.9)],
        [True, False],
        [False, False],
    ),
    "the detection takes the box with the highest IoU": (
        [box(0, NEAR_A), box(0, A)],
        [result(1, 0, A, 0.9), result(1, 0, NEAR_A, 0.8)],
        [True, True],
        [False, False],
    ),
    "boxes of other classes do not match": (
        [box(1, A)],
        [result(1, 0, A, 0.9)],
        [False],
        [False],
    ),
    "detections in a crowd are ignored, several of them": (
        [box(0, CROWD, crowd=True)],
        [result(1, 0, IN_CROWD, 0.9), result(1, 0, IN_CROWD, 0.8)],
        [False, False],
        [True, True],
    ),
    "a box comes before a crowd": (
        [box(0, CROWD, crowd=True), box(0, [55, 55, 10, 12])],
        [result(1, 0, IN_CROWD, 0.9), result(1, 0, IN_CROWD, 0.8)],
        [True, False],
        [False, True],
    ),
    "an image without boxes": ([], [result(1, 0, A, 0.9)], [False], [False]),
    "no detection": ([box(0, A)], [], [], []),
}


@pytest.mark.parametrize("case", CASES)
def test_matches_by_hand(case: str) -> None:
    boxes, results, hits, ignored = CASES[case]
    found = match_detections(
        dataset_of([boxes]), results, max_detections=100, iou_thresholds=(0.5,)
    )
    assert found.hits.tolist() == [hits]
    assert found.ignored.tolist() == [ignored]
    assert found.boxes.sum() == sum(not b["iscrowd"] for b in boxes)


def test_a_detection_hits_up_to_its_iou() -> None:
    """IoU 0.55 counts at the thresholds 0.5 and 0.55."""
    dataset = dataset_of([[box(0, A)]])
    found = match_detections(dataset, [result(1, 0, HALF_A, 0.9)], max_detections=100)
    assert found.hits[:, 0].tolist() == [t <= 0.55 for t in IOU_THRESHOLDS]


def test_only_the_best_detections_of_each_image_and_class_count() -> None:
    dataset = dataset_of([[box(0, A)], [box(0, A)]])
    results = [result(i, c, A, s) for i in (1, 2) for c in (0, 1) for s in (0.1, 0.3, 0.2)]
    found = match_detections(dataset, results, max_detections=2)
    assert found.scores.tolist() == [0.3, 0.3, 0.2, 0.2] * 2
    assert found.images.tolist() == [0, 1, 0, 1] * 2
    assert [part.stop - part.start for part in found.of_classes()] == [4, 4, 0]


@pytest.mark.parametrize("digits", [6, 1])
@pytest.mark.parametrize("seed", range(4))
def test_matches_are_those_of_pycocotools(seed: int, digits: int) -> None:
    dataset, results = random_scene(seed, digits=digits)
    found = match_detections(dataset, results, max_detections=4)
    assert found.hits.any()
    assert found.ignored.any()
    for number, part in enumerate(found.of_classes()):
        expected = coco_matches(dataset, results, number, max_detections=4)
        for key in ("scores", "hits", "ignored"):
            np.testing.assert_array_equal(getattr(found, key)[..., part], expected[key])


@pytest.mark.parametrize("area", [1, 2, 3], ids=["small", "medium", "large"])
@pytest.mark.parametrize("seed", range(3))
def test_matches_of_sizes_are_those_of_pycocotools(seed: int, area: int) -> None:
    """The images are enlarged, so that there are boxes of all sizes, and detections of boxes of
    another size."""
    dataset, results = random_scene(seed)
    for entry in [a for record in dataset.records for a in record["annotations"]]:
        entry["bbox"] = [4 * v for v in entry["bbox"]]
        entry["area"] *= 16
    results = [{**r, "bbox": [4 * v for v in r["bbox"]]} for r in results]
    overlaps = compute_overlaps(dataset, results, max_detections=100)
    matching = match(overlaps, IOU_THRESHOLDS, areas=list(RANGES.values())[area])
    found = matches_of(overlaps, matching, IOU_THRESHOLDS)
    assert found.ignored.any()
    for number, part in enumerate(found.of_classes()):
        expected = coco_matches(dataset, results, number, max_detections=100, area=area)
        for key in ("scores", "hits", "ignored"):
            np.testing.assert_array_equal(getattr(found, key)[..., part], expected[key])


def coco_matches(
    dataset: Dataset,
    results: list[dict[str, Any]],
    class_index: int,
    *,
    max_detections: int,
    area: int = 0,
) -> dict[str, np.ndarray]:
    """Return the detections of a class in the order of pycocotools' accumulation.

    ``area`` is the index of one of COCO's four ranges of areas, of which the first is all.
    """
    numbered = [{**r, "category_id": CATEGORY_IDS.index(r["category_id"]) + 1} for r in results]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = ground_truth(dataset)
        coco.createIndex()
        evaluator = COCOeval(coco, coco.loadRes(numbered), "bbox")
        evaluator.params.maxDets = [max_detections]
        evaluator.evaluate()
    images = len(dataset.records)
    start = (class_index * 4 + area) * images
    found = [image for image in evaluator.evalImgs[start : start + images] if image is not None]
    scores = np.concatenate([image["dtScores"] for image in found])
    order = np.argsort(-scores, kind="stable")
    matched = np.concatenate([image["dtMatches"] for image in found], axis=1)[:, order] > 0
    ignored = np.concatenate([image["dtIgnore"] for image in found], axis=1)[:, order]
    return {"scores": scores[order], "hits": matched & ~ignored, "ignored": ignored}


def test_merged_data_sets_are_one_data_set() -> None:
    dataset, results = random_scene(0, images=8)
    halves = [dataset_of([r["annotations"] for r in dataset.records[i : i + 4]]) for i in (0, 4)]
    parts = [
        match_detections(
            half,
            [{**r, "image_id": r["image_id"] - i} for r in results if i < r["image_id"] <= i + 4],
            max_detections=100,
        )
        for half, i in zip(halves, (0, 4), strict=True)
    ]
    whole, merged = match_detections(dataset, results, max_detections=100), merge(parts)
    for key in ("classes", "images", "scores", "hits", "ignored", "boxes"):
        np.testing.assert_array_equal(getattr(merged, key), getattr(whole, key))
