"""Share of boxes that anchors match, computed by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from retina_plugin.data import Dataset, Sample
from retina_plugin.evaluation.coverage import describe_matched, matched_shares


def dataset_of(*annotations: tuple[int, list[float], int]) -> Dataset:
    """One image of 20 x 100 pixels and three classes, with (class, box, crowd)."""
    record: dict[str, Any] = {"image_id": 1, "height": 20, "width": 100}
    record["annotations"] = [
        {"category_id": label, "bbox": box, "iscrowd": crowd} for label, box, crowd in annotations
    ]
    return Dataset(
        name="one image",
        json_file="",
        image_root="",
        class_names=["a", "b", "c"],
        category_ids=[1, 2, 3],
        records=[record],
        warnings=[],
    )


def shares(dataset: Dataset, anchors: list[list[float]], threshold: float) -> list[float]:
    """Shares for samples that equal the images."""

    def sample_of(index: int, rng: np.random.Generator) -> Sample:
        record = dataset.records[index]
        objects = [a for a in record["annotations"] if not a["iscrowd"]]
        return {
            "image": np.zeros((record["height"], record["width"], 3), dtype=np.uint8),
            "boxes": np.array([a["bbox"] for a in objects], dtype=np.float64),
            "labels": np.array([a["category_id"] for a in objects], dtype=np.int64),
        }

    return matched_shares(
        dataset,
        sample_of,
        lambda height, width: torch.tensor(anchors),
        threshold=threshold,
        seed=0,
    )


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        pytest.param(0.49, [1.0, 0.5], id="below: both boxes of the first class"),
        pytest.param(0.5, [1.0, 0.5], id="equal to the IoU: counts, as in training"),
        pytest.param(0.51, [0.5, 0.5], id="above: only the box that equals an anchor"),
    ],
)
def test_threshold(threshold: float, expected: list[float]) -> None:
    """Anchors of 20 x 10 at x = 0 and of 10 x 10 at x = 50.

    A box of 10 x 10 at x = 0 has IoU 0.5, one at 50 has 1, one at 80 has 0. The crowd does not
    count, and the third class has no box.
    """
    dataset = dataset_of(
        (0, [0, 0, 10, 10], 0),
        (0, [50, 0, 60, 10], 0),
        (1, [50, 0, 60, 10], 0),
        (1, [80, 0, 90, 10], 0),
        (1, [80, 0, 90, 10], 1),
    )
    found = shares(dataset, [[0.0, 0, 20, 10], [50, 0, 60, 10]], threshold)
    assert found[:2] == expected
    assert math.isnan(found[2])


def test_an_image_without_boxes() -> None:
    assert all(map(math.isnan, shares(dataset_of(), [[0.0, 0, 20, 10]], 0.5)))


def test_the_line_describes_the_count() -> None:
    line = describe_matched(dataset_of(), threshold=0.5, seed=3)
    assert "IoU 0.5 or more" in line
    assert "1 images, seed 3" in line
