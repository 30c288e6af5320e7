"""The end of a run: the table of metrics and a picture of detections; and the pictures during
it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from retina_plugin.data import load_dataset, reading
from retina_plugin.evaluation.reasons import notes, reasons
from retina_plugin.evaluation.results import RESULTS_FILE, results_folder, results_table
from retina_plugin.report.grid import prediction_grid, side_by_side, write_picture


def finish(cfg: Any, results: dict[str, Any]) -> None:
    """Print the metrics and write ``predictions.png`` of the first test set into ``OUTPUT_DIR``.

    Args:
        cfg: of the run, with at least one test set.
        results: ``{"bbox": {"AP": 71.2, ..., "AP-cat": 70.1}}``, or that for each of several test
            sets; ``{}`` in the place of metrics where there is no ground truth.
    """
    for name in cfg.DATASETS.TEST:
        metrics = results if len(cfg.DATASETS.TEST) == 1 else results.get(name, {})
        if len(cfg.DATASETS.TEST) > 1:
            print(name)
        print(_summary(cfg, name, metrics))
    name = cfg.DATASETS.TEST[0]
    with open(os.path.join(results_folder(cfg, name), RESULTS_FILE), encoding="utf-8") as file:
        found = json.load(file)
    path = os.path.join(cfg.OUTPUT_DIR, "predictions.png")
    write_picture(path, prediction_grid(load_dataset(name), found, options=reading(cfg)))
    print(f"pictures: {path}")


def _summary(cfg: Any, name: str, results: Mapping[str, Any]) -> str:
    """The table of one test set, or why there is none."""
    dataset = load_dataset(name)
    if "bbox" in results:
        metrics = results["bbox"]
        return results_table(
            metrics, reasons(dataset, metrics), notes(dataset, cfg.TEST.DETECTIONS_PER_IMAGE)
        )
    path = os.path.join(results_folder(cfg, name), RESULTS_FILE)
    return (
        f"no metrics: {dataset.json_file} has no annotations, as COCO's test-dev. The detections "
        f"are in {path}."
    )


def training_picture(
    image: np.ndarray,
    *,
    target: Mapping[str, Any],
    detections: Mapping[str, Any],
    class_names: Sequence[str],
) -> np.ndarray:
    """Truth beside the 20 best detections of an image as the network sees it.

    Args:
        image: (H, W, 3) uint8 RGB.
        target: "boxes" (M, 4) and "labels" (M,) tensors.
        detections: the same and "scores" (M,), best first.
        class_names: K names.

    Returns:
        (H', W', 3) uint8 RGB.
    """
    truth = [
        {"bbox": b, "category_id": c}
        for b, c in zip(target["boxes"].tolist(), target["labels"].tolist(), strict=True)
    ]
    best = (detections[key][:20].tolist() for key in ("boxes", "labels", "scores"))
    found = [{"bbox": b, "category_id": c, "score": s} for b, c, s in zip(*best, strict=True)]
    return side_by_side(image, truth, found, class_names=class_names, caption="training")
