"""Boxes of masks: run lengths compared with pycocotools, and errors of invalid masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as masks

from retina_plugin.data import DatasetError, read_coco
from retina_plugin.data.coco_masks import box_of_segmentation
from tests.coco_files import changed, write_coco


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98, 1.0])
def test_runs_and_their_text_give_pycocotools_box(share: float) -> None:
    rng = np.random.default_rng(0)
    for size in ((1, 1), (7, 5), (40, 300)):
        coded = masks.encode(np.asfortranarray(rng.random(size) < share, dtype=np.uint8))
        text = {"size": list(size), "counts": coded["counts"].decode()}
        assert box_of_segmentation(text) == masks.toBbox(coded).tolist()


BIG = 10**12
BROKEN = {
    "runs beyond the mask": {"size": [10, 20], "counts": [BIG, 5]},
    "one pixel too many": {"size": [10, 20], "counts": [196, 5]},
    "negative runs": {"size": [10, 20], "counts": [5, -2, 3]},
    "runs of text": {"size": [10, 20], "counts": ["5", 2]},
    "fractions of runs": {"size": [10, 20], "counts": [5.5, 2]},
    "no size": {"counts": [5, 2]},
    "a size of text": {"size": ["10", 20], "counts": [5, 2]},
    "no text of runs": {"size": [10, 20], "counts": "garbage!!\x01"},
    "text that is cut off": {"size": [10, 20], "counts": "P"},
    "text beyond the mask": {"size": [10, 20], "counts": "ooooooo0oooo0"},
    "NaN": [[2, 3, float("nan"), 3, 6, 8]],
    "infinite": [[2, 3, float("inf"), 3, 6, 8]],
    "an integer beyond floats": [[2, 3, 10**400, 3, 6, 8]],
    "a span beyond floats": [[-1.5e308, 3, 1.5e308, 3, 6, 8]],
}


@pytest.mark.parametrize("segmentation", BROKEN.values(), ids=BROKEN)
def test_an_invalid_mask_is_an_error_with_file_and_entry(tmp_path: Path, segmentation: Any) -> None:
    assert box_of_segmentation(segmentation) is None
    json_file, images = write_coco(
        tmp_path, changed("annotations", 0, bbox=[], segmentation=segmentation)
    )
    with pytest.raises(
        DatasetError,
        match=r"entry 0 of 'annotations' \(id 1\) needs bbox: .*found \[\], and a segmentation "
        "that gives no box: ",
    ) as error:
        read_coco(json_file, images)
    assert json_file in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("bbox", [[0, 0, 0, 0], [2, 3, 0, 5], [0.0, 0, 4, 0]])
def test_a_box_without_area_beside_a_polygon(tmp_path: Path, bbox: list) -> None:
    polygon = [[2, 3, 6, 3, 6, 8, 2, 8]]
    dataset = read_coco(
        *write_coco(tmp_path, changed("annotations", 0, bbox=bbox, segmentation=polygon))
    )
    assert dataset.records[0]["annotations"][0]["bbox"] == [2, 3, 6, 8]
    assert [line.split(": ", 1)[1] for line in dataset.warnings] == [
        "1 of 2 annotations have a bbox without area, their segmentation's box was taken (first: "
        "annotation 1)"
    ]


@pytest.mark.parametrize("segmentation", [[], [[2, 3, 2, 8]], [[2, 3, float("nan"), 8]]])
def test_a_box_without_area_whose_segmentation_has_none(tmp_path: Path, segmentation: Any) -> None:
    dataset = read_coco(
        *write_coco(
            tmp_path, changed("annotations", 0, bbox=[0, 0, 0, 0], segmentation=segmentation)
        )
    )
    (line,) = dataset.warnings
    assert "1 of 2 boxes have no area and were dropped" in line


def test_an_empty_mask_is_dropped_with_a_count(tmp_path: Path) -> None:
    mask = {"size": [10, 20], "counts": [200]}
    content = changed("annotations", 0, bbox=None, segmentation=mask)
    lines = read_coco(*write_coco(tmp_path, content)).warnings
    assert "have no bbox, their segmentation's box was taken" in lines[0]
    assert "1 of 2 boxes have no area and were dropped" in lines[1]
