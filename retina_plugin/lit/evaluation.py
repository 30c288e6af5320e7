"""COCO metrics, named and scaled as Detectron2's COCOEvaluator names and scales them, by pycocotools or what is faster."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from retina_plugin.data import Dataset, coco_ground_truth
from retina_plugin.model import Detections
from retina_plugin.outputs import write_atomically

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def coco_results(image_id: int, detections: Detections, category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Detections of one image in COCO's results format: XYWH boxes, the data set's own category ids."""
    boxes = detections["boxes"].clone()
    boxes[:, 2:] -= boxes[:, :2]
    return [
        {"image_id": image_id, "category_id": category_ids[label], "bbox": box, "score": score}
        for box, score, label in zip(
            boxes.tolist(), detections["scores"].tolist(), detections["labels"].tolist(), strict=True
        )
    ]


def evaluate(dataset: Dataset, results: list[dict[str, Any]], folder: str) -> dict[str, dict[str, float]]:
    """Write ``coco_instances_results.json`` and compute the metrics.

    Args:
        dataset: with its ground truth.
        results: from :func:`coco_results`, over all images.
        folder: where the file goes.

    Returns:
        ``{"bbox": {"AP", "AP50", "AP75", "APs", "APm", "APl", "AP-<class>" ...}}`` in percent; NaN where nothing can be measured.
        With one class there is no AP per class.
    """
    os.makedirs(folder, exist_ok=True)
    write_atomically(os.path.join(folder, "coco_instances_results.json"), json.dumps(results))
    if not results:
        return {"bbox": dict.fromkeys(METRICS, math.nan)}
    coco_eval = _run_cocoeval(coco_ground_truth(dataset.json_file), results)
    metrics = {name: _percent(value) for name, value in zip(METRICS, coco_eval.stats, strict=False)}
    if len(dataset.class_names) > 1:
        for index, name in enumerate(dataset.class_names):
            precision = coco_eval.eval["precision"][:, :, index, 0, -1]  # all areas, most detections
            precision = precision[precision > -1]
            metrics[f"AP-{name}"] = _percent(np.mean(precision) if precision.size else -1)
    return {"bbox": metrics}


def _run_cocoeval(ground_truth: dict[str, Any], results: list[dict[str, Any]]) -> Any:
    coco, evaluator = back_end()
    with contextlib.redirect_stdout(io.StringIO()):  # its own report comes without names
        truth = coco()
        truth.dataset = ground_truth
        truth.createIndex()
        coco_eval = evaluator(truth, truth.loadRes([dict(r) for r in results]), "bbox")
        for stage in (coco_eval.evaluate, coco_eval.accumulate, coco_eval.summarize):
            stage()
    return coco_eval


@functools.cache
def back_end() -> tuple[type, type]:
    """COCO and COCOeval of faster-coco-eval, whose numbers are the same, or of pycocotools; says once which."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        return COCO, COCOeval
    print("COCO metrics by faster-coco-eval", flush=True)
    return COCO, COCOeval_faster


def _percent(value: float) -> float:
    return float(value * 100) if value >= 0 else math.nan
