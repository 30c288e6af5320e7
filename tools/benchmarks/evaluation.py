"""Benchmark COCO metrics of detections in memory."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.measure import Comparison, Work

CLASSES = 80
Metrics = dict[str, np.ndarray]


def comparisons(args: argparse.Namespace) -> list[Comparison]:
    """Compare faster-coco-eval, pycocotools and Detectron2's COCOeval_opt."""
    images, detections = (4, 10) if args.quick else (1000, 100)
    implementations = {"pycocotools": lambda: _work(_pycocotools, images, detections)}
    absent = []
    if importlib.util.find_spec("faster_coco_eval"):
        implementations = {
            "faster-coco-eval": lambda: _work(_faster, images, detections),
            **implementations,
        }
    else:
        absent.append("faster-coco-eval is not installed: pip install -e '.[fast-eval]'")
    if importlib.util.find_spec("detectron2") and importlib.util.find_spec("detectron2._C"):
        implementations["Detectron2 COCOeval_opt"] = lambda: _work(_detectron2, images, detections)
    else:
        absent.append("Detectron2's COCOeval_opt needs its compiled extension")
    return [
        Comparison(
            f"eval, {images} images, {detections} detections each, K = {CLASSES}",
            implementations,
            _check_equal,
            absent,
        )
    ]


def scene(images: int, detections: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return random ground truth in COCO's format, seven boxes per image and some crowds, and
    random detections, of which about half are near a box."""
    numbers = np.random.default_rng(0)
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image in range(1, images + 1):
        corners, sides = (
            numbers.uniform(0, 400, (7, 2)),
            numbers.lognormal(4, 0.8, (7, 2)).clip(4, 240),
        )
        boxes, classes = (
            np.concatenate([corners, sides], axis=1),
            numbers.integers(1, CLASSES + 1, 7),
        )
        for box, category in zip(boxes.tolist(), classes.tolist(), strict=True):
            crowd = int(numbers.random() < 0.02)
            common = {"image_id": image, "category_id": category, "bbox": box}
            annotations.append(
                {**common, "id": len(annotations) + 1, "area": box[2] * box[3], "iscrowd": crowd}
            )
        near = numbers.integers(0, 7, detections)
        found = (
            boxes[near]
            + numbers.normal(0, 6, (detections, 4))
            + numbers.choice([0, 150], (detections, 1))
        )
        found[:, 2:] = found[:, 2:].clip(2)
        for box, category in zip(found.tolist(), classes[near].tolist(), strict=True):
            results.append(
                {
                    "image_id": image,
                    "category_id": category,
                    "bbox": box,
                    "score": float(numbers.random()),
                }
            )
    ground_truth = {
        "images": [{"id": i, "height": 640, "width": 640} for i in range(1, images + 1)],
        "categories": [{"id": i, "name": str(i)} for i in range(1, CLASSES + 1)],
        "annotations": annotations,
    }
    return ground_truth, results


def _work(evaluate: Callable[..., Metrics], images: int, detections: int) -> Work:
    ground_truth, results = scene(images, detections)

    def work() -> Metrics:
        with contextlib.redirect_stdout(io.StringIO()):
            return evaluate(ground_truth, [dict(result) for result in results])

    return work


def _run(
    api: type, evaluator: type, ground_truth: dict[str, Any], results: list[dict[str, Any]]
) -> Metrics:
    coco = api()
    coco.dataset = ground_truth
    coco.createIndex()
    evaluation = evaluator(coco, coco.loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return {
        "stats": np.asarray(evaluation.stats[:12]),
        "precision": np.asarray(evaluation.eval["precision"]),
    }


def _pycocotools(ground_truth: dict[str, Any], results: list[dict[str, Any]]) -> Metrics:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    return _run(COCO, COCOeval, ground_truth, results)


def _faster(ground_truth: dict[str, Any], results: list[dict[str, Any]]) -> Metrics:
    from faster_coco_eval import COCO, COCOeval_faster

    return _run(COCO, COCOeval_faster, ground_truth, results)


def _detectron2(ground_truth: dict[str, Any], results: list[dict[str, Any]]) -> Metrics:
    from detectron2.evaluation.fast_eval_api import COCOeval_opt
    from pycocotools.coco import COCO

    return _run(COCO, COCOeval_opt, ground_truth, results)


def _check_equal(result: Metrics, expected: Metrics) -> None:
    for name, values in expected.items():
        np.testing.assert_allclose(result[name], values, atol=1e-6, err_msg=name)
