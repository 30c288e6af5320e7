"""Compute COCO metrics of detections, for both hosts.

The ground truth consists of the repaired boxes of :class:`retina_plugin.data.Dataset`, as in
training. Metrics have the names and the scale of Detectron2's COCOEvaluator.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from retina_plugin.config.files import write_atomically
from retina_plugin.data import Dataset
from retina_plugin.evaluation.results import RESULTS_FILE
from retina_plugin.modeling.structures import Detections

Results = list[dict[str, Any]]
# COCO and COCOeval of pycocotools, or of a package with the same interface
BackEnd = tuple[type, type]

# suffixes of AP and AR, in the order of COCOeval's area ranges: all, small, medium, large
AREAS = ("", "s", "m", "l")


class CocoMetrics(NamedTuple):
    """Metrics in percent.

    A metric is NaN if there is no ground truth for it. All are NaN if nothing was detected.

    Attributes:
        precision: "AP", "AP50", "AP75", "APs", "APm", "APl", and "AP-<class>" if there are several
            classes.
        recall: "AR", "ARs", "ARm", "ARl".
    """

    precision: dict[str, float]
    recall: dict[str, float]


def coco_results(image_id: Any, detections: Detections, category_ids: Sequence[Any]) -> Results:
    """Convert the detections of an image to COCO's results format.

    Args:
        image_id: id of the image.
        detections: "boxes" (N, 4) XYXY, "scores" (N,) and "labels" (N,); N may be 0.
        category_ids: K ids of the annotation file, by class index.

    Returns:
        N dicts with "image_id", "category_id", "bbox" as XYWH, and "score".
    """
    boxes = detections["boxes"].clone()
    boxes[:, 2:] -= boxes[:, :2]
    return [
        {"image_id": image_id, "category_id": category_ids[label], "bbox": box, "score": score}
        for box, score, label in zip(
            boxes.tolist(),
            detections["scores"].tolist(),
            detections["labels"].tolist(),
            strict=True,
        )
    ]


def evaluate(
    dataset: Dataset,
    results_by_process: Iterable[Mapping[Any, Results]],
    folder: str,
    *,
    max_detections: int,
    back_end: BackEnd | None = None,
) -> dict[str, dict[str, float]]:
    """Write ``coco_instances_results.json``, print the recall, and return the metrics.

    Args:
        dataset: the evaluated data set.
        results_by_process: one mapping for each process, from image ids to :func:`coco_results`;
            an image may occur in several of them.
        folder: folder of the file; it is created if it does not exist.
        max_detections, back_end: see :func:`compute_metrics`.

    Returns:
        ``{"bbox": CocoMetrics.precision}``; ``{}`` for a data set without ground truth.
    """
    by_image = {image: results for part in results_by_process for image, results in part.items()}
    flat = [result for record in dataset.records for result in by_image.get(record["image_id"], ())]
    os.makedirs(folder, exist_ok=True)
    write_atomically(os.path.join(folder, RESULTS_FILE), json.dumps(flat))
    if not dataset.has_ground_truth:
        return {}
    measured = compute_metrics(dataset, flat, max_detections=max_detections, back_end=back_end)
    recall = "  ".join(f"{name} {value:.1f}" for name, value in measured.recall.items())
    print(
        f"{dataset.name}: {recall} with at most {max_detections} detections in an image", flush=True
    )
    return {"bbox": measured.precision}


def compute_metrics(
    dataset: Dataset, results: Results, *, max_detections: int, back_end: BackEnd | None = None
) -> CocoMetrics:
    """Compute COCO's metrics of boxes.

    Args:
        dataset: a data set with ground truth.
        results: results of all images, with the ids of the annotation file.
        max_detections: ``TEST.DETECTIONS_PER_IMAGE``. For each image and class, only this many
            detections with the highest scores are evaluated; COCO's own limit is 100.
        back_end: None for :func:`default_back_end`.

    Returns:
        The metrics; without results, all are NaN and there is no AP per class, as in Detectron2.
    """
    if not results:
        nothing = dict.fromkeys(("AP", "AP50", "AP75", "APs", "APm", "APl"), math.nan)
        return CocoMetrics(nothing, dict.fromkeys(("AR", "ARs", "ARm", "ARl"), math.nan))
    coco, evaluator = back_end or default_back_end()
    with contextlib.redirect_stdout(io.StringIO()):  # hide the output of the back end
        coco_gt = coco()
        coco_gt.dataset = ground_truth(dataset)
        coco_gt.createIndex()
        coco_eval = evaluator(
            coco_gt, coco_gt.loadRes(_with_numbered_ids(dataset, results)), "bbox"
        )
        coco_eval.params.maxDets = [max_detections]
        coco_eval.evaluate()
        coco_eval.accumulate()  # summarize() would fail: it expects maxDets of 100
    thresholds = np.asarray(coco_eval.params.iouThrs)
    # precision: (thresholds, recalls, classes, areas); recall: (thresholds, classes, areas);
    # both are -1 where there is no ground truth
    precision, recall = (
        np.asarray(coco_eval.eval[key])[..., -1] for key in ("precision", "recall")
    )
    averages = {"AP": _percent(precision[..., 0])}
    averages |= {
        f"AP{t:.0f}": _percent(precision[np.isclose(100 * thresholds, t), ..., 0]) for t in (50, 75)
    }
    averages |= {
        f"AP{suffix}": _percent(precision[..., area]) for area, suffix in enumerate(AREAS) if suffix
    }
    if dataset.num_classes > 1:
        averages |= {
            f"AP-{name}": _percent(precision[:, :, i, 0])
            for i, name in enumerate(dataset.class_names)
        }
    return CocoMetrics(
        averages, {f"AR{suffix}": _percent(recall[..., area]) for area, suffix in enumerate(AREAS)}
    )


def ground_truth(dataset: Dataset) -> dict[str, Any]:
    """Return the boxes of a data set in COCO's annotation format, for pycocotools.

    Images, categories and annotations are numbered from 1, because pycocotools fails with text ids
    and never matches an annotation with id 0.
    """
    annotations = [
        {
            "id": 0,
            "image_id": number,
            "category_id": a["category_id"] + 1,
            "bbox": [
                a["bbox"][0],
                a["bbox"][1],
                a["bbox"][2] - a["bbox"][0],
                a["bbox"][3] - a["bbox"][1],
            ],
            "area": a["area"],
            "iscrowd": a["iscrowd"],
        }
        for number, record in enumerate(dataset.records, start=1)
        for a in record["annotations"]
    ]
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    return {
        "info": {},
        "images": [
            {"id": number, "height": record["height"], "width": record["width"]}
            for number, record in enumerate(dataset.records, start=1)
        ],
        "annotations": annotations,
        "categories": [
            {"id": number, "name": name} for number, name in enumerate(dataset.class_names, start=1)
        ],
    }


def _with_numbered_ids(dataset: Dataset, results: Results) -> Results:
    """Return copies of the results with the ids of :func:`ground_truth`."""
    images = {record["image_id"]: number for number, record in enumerate(dataset.records, start=1)}
    categories = {
        category_id: number for number, category_id in enumerate(dataset.category_ids, start=1)
    }
    return [
        {
            "image_id": images[result["image_id"]],
            "category_id": categories[result["category_id"]],
            "bbox": result["bbox"],
            "score": result["score"],
        }
        for result in results
    ]


@functools.cache
def default_back_end() -> BackEnd:
    """Return faster-coco-eval if it is installed, else pycocotools; both give the same metrics."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        return COCO, COCOeval
    print("COCO metrics by faster-coco-eval", flush=True)
    return COCO, COCOeval_faster


def _percent(values: np.ndarray) -> float:
    """Return the mean of the values above -1 in percent; NaN without such values."""
    values = values[values > -1]
    return float(100 * values.mean()) if values.size else math.nan
