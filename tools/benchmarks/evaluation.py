"""COCO metrics from detections in memory."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
from typing import Any

import numpy as np

from benchmarks.measure import Comparison, Work

CLASSES = 80


def comparisons(args: argparse.Namespace) -> list[Comparison]:
    """The faster back end beside pycocotools; both at Detectron2's and Lightning's service."""
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
    """Ground truth in COCO's format, seven boxes an image, some crowds; and detections, half of
    them near a box."""
    numbers = np.random.default_rng(0)
    annotations, results = [], []
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
    truth = {
        "images": [{"id": i, "height": 640, "width": 640} for i in range(1, images + 1)],
        "categories": [{"id": i, "name": str(i)} for i in range(1, CLASSES + 1)],
        "annotations": annotations,
    }
    return truth, results


def _work(evaluate, images: int, detections: int) -> Work:
    truth, results = scene(images, detections)

    def work() -> dict[str, np.ndarray]:
        with contextlib.redirect_stdout(io.StringIO()):
            return evaluate(truth, [dict(result) for result in results])

    return work


def _run(
    api: type, evaluator: type, truth: dict[str, Any], results: list[dict[str, Any]]
) -> dict[str, np.ndarray]:
    coco = api()
    coco.dataset = truth
    coco.createIndex()
    evaluation = evaluator(coco, coco.loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return {
        "stats": np.asarray(evaluation.stats[:12]),
        "precision": np.asarray(evaluation.eval["precision"]),
    }


def _pycocotools(truth: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    return _run(COCO, COCOeval, truth, results)


def _faster(truth: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    from faster_coco_eval import COCO, COCOeval_faster

    return _run(COCO, COCOeval_faster, truth, results)


def _detectron2(truth: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    from detectron2.evaluation.fast_eval_api import COCOeval_opt
    from pycocotools.coco import COCO

    return _run(COCO, COCOeval_opt, truth, results)


def _check_equal(result: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for name, values in expected.items():
        np.testing.assert_allclose(result[name], values, atol=1e-6, err_msg=name)
