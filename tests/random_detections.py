"""Random boxes, crowds and detections of a data set in memory, for comparisons with pycocotools."""

from __future__ import annotations

from typing import Any

import numpy as np

from retina_plugin.data import Dataset

CATEGORY_IDS = (2, 5, 9)


def dataset_of(annotations_by_image: list[list[dict[str, Any]]], *, name: str = "val") -> Dataset:
    """A data set of 100 x 100 images with ids 1, 2, ...; its classes are cat, dog, bird."""
    records: list[dict[str, Any]] = [
        {
            "file_name": f"{number}.png",
            "image_id": number,
            "height": 100,
            "width": 100,
            "annotations": annotations,
        }
        for number, annotations in enumerate(annotations_by_image, start=1)
    ]
    return Dataset(name, "val.json", "images", ("cat", "dog", "bird"), CATEGORY_IDS, records)


def box(class_index: int, xywh: list[float], *, crowd: bool = False) -> dict[str, Any]:
    x, y, width, height = xywh
    corners = [x, y, x + width, y + height]
    return {
        "id": 0,
        "bbox": corners,
        "category_id": class_index,
        "iscrowd": int(crowd),
        "area": width * height,
    }


def result(image: int, class_index: int, xywh: list[float], score: float) -> dict[str, Any]:
    return {
        "image_id": image,
        "category_id": CATEGORY_IDS[class_index],
        "bbox": xywh,
        "score": score,
    }


def random_scene(
    seed: int, *, images: int = 8, digits: int = 6
) -> tuple[Dataset, list[dict[str, Any]]]:
    """Images with up to seven boxes, one in five without, and several detections near each box. The
    first image has a detection in a crowd.

    Args:
        seed: random seed.
        images: number of images.
        digits: of the scores; 1 gives many equal scores.
    """
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    for image in range(1, images + 1):
        count = int(rng.integers(1, 8)) if rng.random() > 0.2 else 0
        boxes = [
            box(int(rng.integers(3)), _random_box(rng), crowd=bool(rng.random() < 0.15))
            for _ in range(count)
        ]
        for annotation in boxes:
            x0, y0, x1, y1 = annotation["bbox"]
            for _ in range(int(rng.integers(4))):
                near = np.array([x0, y0, x1 - x0, y1 - y0]) + rng.normal(0, 2, 4)
                label = annotation["category_id"] if rng.random() < 0.9 else int(rng.integers(3))
                score = round(float(rng.random()), digits)
                results.append(result(image, label, near.clip(1).tolist(), score))
        for _ in range(int(rng.integers(3))):
            score = round(float(rng.random() * 0.7), digits)
            results.append(result(image, int(rng.integers(3)), _random_box(rng), score))
        annotations.append(boxes)
    annotations[0].append(box(0, [62, 62, 36, 36], crowd=True))
    results.append(result(1, 0, [70, 70, 20, 20], 0.9))
    return dataset_of(annotations), results


def _random_box(rng: np.random.Generator) -> list[float]:
    return [*rng.uniform(1, 60, 2).tolist(), *rng.uniform(8, 35, 2).tolist()]
