"""Read a results file, and check that it belongs to a data set."""

from __future__ import annotations

import math
import os
from typing import Any

from retina_plugin.data import Dataset, DatasetError
from retina_plugin.data.coco_ids import IdMatcher
from retina_plugin.data.coco_json import parse_json

KINDS: dict[str, Any] = {  # key of a result -> type of its value
    "image_id": (int, float, str),
    "category_id": (int, float, str),
    "bbox": list,
    "score": (int, float),
}
AGAIN = "Evaluate again with retina eval"
BEYOND = 0.1  # share of the side of an image by which a box of another tool may leave it


def read_checked_results(dataset: Dataset, path: str) -> list[dict[str, Any]]:
    """Read detections in COCO's results format.

    Args:
        dataset: the data set of the detections.
        path: the file.

    Returns:
        {"image_id", "category_id", "bbox" XYWH, "score"} of each detection, with the ids of the
        data set.

    Raises:
        DatasetError: the file is missing, empty or broken, or an entry has ids that the data set
            does not have, a box that is not four numbers or lies outside of its image, or a score
            outside of 0..1.
    """
    entries = _read_list(path)
    images = IdMatcher(record["image_id"] for record in dataset.records)
    categories = IdMatcher(dataset.category_ids)
    sizes = {record["image_id"]: (record["width"], record["height"]) for record in dataset.records}
    checked = []
    for number, entry in enumerate(entries, start=1):
        place = f"{path}, result {number}"
        found = _checked(entry, place, dataset, images, categories)
        _require_inside(found["bbox"], sizes[found["image_id"]], place)
        checked.append(found)
    return checked


def _read_list(path: str) -> list[Any]:
    if os.path.isfile(path) and not os.path.getsize(path):
        raise DatasetError(f"{path} is empty: expected a list of results. {AGAIN}")
    entries = parse_json(path)
    if not isinstance(entries, list):
        raise DatasetError(
            f"{path}: expected a list of results, found {type(entries).__name__}. {AGAIN}"
        )
    return entries


def _checked(
    entry: Any, place: str, dataset: Dataset, images: IdMatcher, categories: IdMatcher
) -> dict[str, Any]:
    if not isinstance(entry, dict) or not all(isinstance(entry.get(k), KINDS[k]) for k in KINDS):
        raise DatasetError(f"{place}: expected {', '.join(KINDS)}, found {entry!r:.100}. {AGAIN}")
    image, category = images(entry["image_id"]), categories(entry["category_id"])
    for key, value, known in (
        ("image_id", image, images.ids),
        ("category_id", category, categories.ids),
    ):
        if value not in known:
            raise DatasetError(
                f"{place}: {key} {value!r} is not in {dataset.json_file}. The results belong to "
                f"another data set. {AGAIN}"
            )
    if not _are_numbers(entry["bbox"], 4):
        raise DatasetError(f"{place}: expected bbox of 4 numbers, found {entry['bbox']!r:.80}")
    if min(entry["bbox"][2:]) < 0:
        raise DatasetError(
            f"{place}: expected bbox as x, y, width and height of at least 0, found "
            f"{entry['bbox']!r:.80}. {AGAIN}"
        )
    if not _are_numbers([entry["score"]], 1) or not 0 <= entry["score"] <= 1:
        raise DatasetError(f"{place}: expected a score from 0 to 1, found {entry['score']!r:.80}")
    return {**entry, "image_id": image, "category_id": category}


def _require_inside(bbox: list[float], size: tuple[int, int], place: str) -> None:
    """Check that a box does not leave its image, because detections are clipped to it."""
    for start, length, side in zip(bbox[:2], bbox[2:], size, strict=True):
        if start < -BEYOND * side or start + length > (1 + BEYOND) * side:
            raise DatasetError(
                f"{place}: bbox {bbox!r:.80} leaves its image of {size[0]} x {size[1]} pixels. The "
                f"results belong to other images. {AGAIN}"
            )


def _are_numbers(values: list[Any], count: int) -> bool:
    return len(values) == count and all(
        type(v) in (int, float) and math.isfinite(v) for v in values
    )
