"""A single different box does not prevent recognition of the others; weak evidence gives a
warning."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch.testing import assert_close

from retina_plugin.data import DatasetError, read_coco
from tests.data.test_box_coordinates import HEIGHT, WIDTH, read, some_boxes, write, written_as

FRACTIONS = written_as(some_boxes(12), "fraction")
PIXELS = written_as(some_boxes(12), "")


def add(paths: tuple[str, str], **annotation: Any) -> None:
    """Append an annotation."""
    content = json.loads(Path(paths[0]).read_text())
    content["annotations"].append({"id": 99, "image_id": 1, "category_id": 1, **annotation})
    Path(paths[0]).write_text(json.dumps(content))


def warned(paths: tuple[str, str], words: str = "") -> str:
    return " ".join(read_coco(*paths, box_coordinates=words).warnings)


@pytest.mark.parametrize(
    ("box", "others", "count"),
    [
        ([70.0, 60, 20, 20], {}, "12 of 13"),
        ([0.4, 0.2, 1.05, 0.4], {}, "all 13"),
        ([0.1, 0.2, 0.3, 1.05], {}, "all 13"),
        ([70.0, 60, 20, 20], {"iscrowd": 1}, "12 of 13"),
        ([], {"segmentation": [[70, 60, 90, 60, 90, 80]]}, "all 12"),
        ([], {"segmentation": {"size": [HEIGHT, WIDTH], "counts": [125, 50, 19025]}}, "all 12"),
    ],
    ids=["pixels", "1.05", "another 1.05", "crowd", "polygon", "runs"],
)
@pytest.mark.parametrize("words", ["fraction", "xyxy fraction"])
def test_one_other_box_among_fractions(
    tmp_path: Path, box: list, others: dict, count: str, words: str
) -> None:
    paths = write(tmp_path, written_as(some_boxes(12), words))
    add(paths, bbox=box, **others)
    with pytest.raises(DatasetError, match=f"{count} boxes lie between 0 and 1") as error:
        read(paths)
    assert f"BOX_COORDINATES to '{words}' to convert" in str(error.value)
    assert ("correct the others (first: annotation 99" in str(error.value)) == (count[0] == "1")
    assert_close(read(paths, words)[:12], some_boxes(12))


@pytest.mark.parametrize("words", ["fraction", "xyxy fraction", "cxcywh fraction"])
def test_boxes_of_masks_are_pixels_whatever_the_others_are(tmp_path: Path, words: str) -> None:
    paths = write(tmp_path, written_as(some_boxes(12), words))
    add(paths, bbox=[], segmentation=[[70, 60, 90, 60, 90, 80]])
    assert read(paths, words)[12].tolist() == [70, 60, 90, 80]


def test_polygons_of_fractions_are_refused(tmp_path: Path) -> None:
    paths = write(tmp_path, PIXELS, bbox=[], segmentation=[[0.1, 0.1, 0.5, 0.1, 0.5, 0.7]])
    for words in ("", "xywh"):
        with pytest.raises(DatasetError, match="polygons of 1 annotations without bbox lie bet"):
            read(paths, words)
    assert len(read(paths, "pixels")) == 12


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (160, 160)], ids=["wide", "square"])
@pytest.mark.parametrize("order", [[0, 1, 2, 3], [1, 0, 3, 2]], ids=["xyxy", "yxyx"])
def test_the_order_of_x_and_y(tmp_path: Path, size: tuple[int, int], order: list[int]) -> None:
    json_file, images = write(tmp_path, some_boxes()[:, order])
    Image.new("RGB", size).save(Path(images, "a.png"))
    content = json.loads(Path(json_file).read_text())
    content["images"][0].update(width=size[0], height=size[1])
    Path(json_file).write_text(json.dumps(content))
    with pytest.raises(DatasetError) as error:
        read((json_file, images))
    printed = str(error.value)
    if size[0] == size[1]:
        assert "to 'xyxy' to convert" in printed
        assert "They fit as [y0, x0, y1, x1], too" in printed
    elif order[0]:
        assert "as corners [y0, x0, y1, x1] 0 (" in printed
        assert "MODEL.RETINA_PLUGIN.DATASETS.BOX_COORDINATES cannot convert this layout" in printed
    else:
        assert "to 'xyxy' to convert" in printed
        assert "[y0, " not in printed


def test_one_other_box_among_corners(tmp_path: Path) -> None:
    paths = write(tmp_path, some_boxes(12))
    add(paths, bbox=[150, 100, 10, 20])
    with pytest.raises(DatasetError, match="to 'xyxy' to convert"):
        read(paths)


def far(boxes: np.ndarray) -> np.ndarray:
    return boxes * 1000 / np.tile([WIDTH, HEIGHT], 2)


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        pytest.param(PIXELS, "", id="nothing"),
        pytest.param(
            np.concatenate([some_boxes(12)[::2], PIXELS[1::2]]),
            "of them would lie inside if they were corners [x0, y0, x1, y1] (first",
            id="half of them corners",
        ),
        pytest.param(
            np.concatenate([FRACTIONS[:2], PIXELS]),
            "2 of 14 boxes lie between 0 and 1 (first: annotation",
            id="a few fractions",
        ),
        pytest.param(np.array([[0.0, 0, 1, 1], [5, 5, 9, 9]]), "", id="the pixel in the corner"),
        pytest.param(far(PIXELS), "They may be measured in 0..1000", id="0..1000"),
    ],
)
def test_warnings(tmp_path: Path, boxes: np.ndarray, words: str) -> None:
    paths = write(tmp_path, boxes)
    printed = warned(paths)
    assert words in printed
    assert bool(words) == bool(printed)


def test_a_file_with_no_box_left_is_refused(tmp_path: Path) -> None:
    paths = write(tmp_path, far(PIXELS) + 200)
    with pytest.raises(
        DatasetError,
        match=r"no box is left of 12: 12 of 12 boxes lie outside their image and were dropped "
        r".*may be measured in 0\.\.1000",
    ):
        read(paths)


@pytest.mark.parametrize(
    ("share", "size", "known"),
    [
        (100, (640, 480), True),
        (80, (640, 480), True),
        (30, (640, 480), False),
        (100, (640, 190), False),  # boxes often lie in one half of an image
    ],
)
def test_percent(tmp_path: Path, share: float, size: tuple[int, int], known: bool) -> None:
    """All boxes lie in the upper left, with coordinates up to 100."""
    json_file, images = write(tmp_path, FRACTIONS * share)
    Image.new("RGB", size).save(Path(images, "a.png"))
    content = json.loads(Path(json_file).read_text())
    content["images"][0].update(width=size[0], height=size[1])
    Path(json_file).write_text(json.dumps(content))
    assert ("they may be percent" in warned((json_file, images))) == known
    assert warned((json_file, images), "pixels") == ""


@pytest.mark.parametrize("words", ["", "xyxy", "cxcywh", "fraction", "xywh pixels"])
def test_the_largest_numbers_are_outside_without_a_warning_of_numpy(
    tmp_path: Path, words: str
) -> None:
    paths = write(tmp_path, written_as(some_boxes(), words))
    for box in ([1e308] * 4, [-1e308, 0, 1e308, 5]):
        add(paths, bbox=box)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = read(paths, words)
        assert np.isfinite(found).all()
        assert (found[:, 2:] <= [WIDTH, HEIGHT]).all()
        content = json.loads(Path(paths[0]).read_text())
        content["annotations"].pop()
        Path(paths[0]).write_text(json.dumps(content))
