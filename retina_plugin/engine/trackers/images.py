"""Read a few validation images with their boxes, for trackers."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import Any

import numpy as np

from retina_plugin.data import (
    Dataset,
    image_options,
    load_dataset,
    read_record,
    validation_sets,
)
from retina_plugin.data.transforms.resize import resize_image
from retina_plugin.engine.trackers.tracker import TrackedImage
from retina_plugin.evaluation.read_results import read_checked_results
from retina_plugin.evaluation.results import RESULTS_FILE, results_folder

MOST_DETECTIONS = 50  # of an image
LONGEST_SIDE = 1024  # pixels; larger images are made smaller


def validation_images(cfg: Any, count: int) -> list[TrackedImage]:
    """Return images of the first validation set with the detections of its last evaluation.

    Args:
        cfg: the config of the run.
        count: number of images; they are spread evenly over the set, and are always the same.

    Returns:
        At most ``count`` images; empty without a validation set.
    """
    names = validation_sets(cfg)
    if not (names and count):
        return []
    dataset = load_dataset(names[0])
    records = dataset.records[:: max(1, len(dataset.records) // count)][:count]
    found = _detections(cfg, dataset)
    return [
        _tracked_image(read_record(r, **image_options(cfg)), r, found[r["image_id"]], dataset)
        for r in records
    ]


def _detections(cfg: Any, dataset: Dataset) -> dict[Any, list[dict[str, Any]]]:
    """Return {image id: [{"bbox" XYXY, "category_id" contiguous, "score"}, ...]}, best first."""
    classes = {coco_id: index for index, coco_id in enumerate(dataset.category_ids)}
    path = os.path.join(results_folder(cfg, dataset.name), RESULTS_FILE)
    found: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for result in sorted(read_checked_results(dataset, path), key=lambda r: -r["score"]):
        x, y, width, height = result["bbox"]
        entry = {"bbox": [x, y, x + width, y + height], "score": result["score"]}
        found[result["image_id"]].append({**entry, "category_id": classes[result["category_id"]]})
    return found


def _tracked_image(
    pixels: np.ndarray, record: dict[str, Any], found: list[dict[str, Any]], dataset: Dataset
) -> TrackedImage:
    height, width = pixels.shape[:2]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    if scale < 1:
        size = max(1, round(height * scale)), max(1, round(width * scale))
        pixels = resize_image(pixels, size)

    def scaled(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**entry, "bbox": [scale * side for side in entry["bbox"]]} for entry in entries]

    return TrackedImage(
        name=os.path.basename(record["file_name"]),
        pixels=pixels,
        ground_truth=scaled([a for a in record["annotations"] if not a.get("iscrowd")]),
        detections=scaled(found[:MOST_DETECTIONS]),
        class_names=dataset.class_names,
    )
