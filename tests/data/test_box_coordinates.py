"""Boxes in other coordinates than [x, y, width, height] in pixels: recognized from all boxes of a
file, and converted by a key."""

from __future__ import annotations

import importlib.util
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch.testing import assert_close

from retina_plugin.config import get_cfg
from retina_plugin.config.checks import check_rules
from retina_plugin.config.errors import ConfigError
from retina_plugin.data import DatasetError, load_dataset, read_coco, use_box_coordinates
from retina_plugin.data.box_coordinates import CHOICES, BoxCoordinates
from tests.load_tools import load_tool
from tests.scenes import write_run

HOSTS = ["lightning"] + ["detectron2"] * (importlib.util.find_spec("detectron2") is not None)
WIDTH, HEIGHT = 160, 120


@pytest.fixture(autouse=True)
def coco_again() -> Iterator[None]:
    """Remove the process-wide setting that a test makes."""
    yield
    use_box_coordinates("")


def some_boxes(count: int = 24, *, lowest: int = 0) -> np.ndarray:
    """(count, 4) boxes XYXY inside an image of 160x120, sides of 8 to 60 pixels."""
    rng = np.random.default_rng(0)
    sides = rng.integers(8, 60, (count, 2))
    corners = rng.integers(lowest, [WIDTH, HEIGHT] - sides)
    return np.concatenate([corners, corners + sides], axis=1).astype(float)


def written_as(boxes: np.ndarray, words: str) -> np.ndarray:
    """Convert XYXY pixels to the coordinates of a file."""
    sides, centre = boxes[:, 2:] - boxes[:, :2], (boxes[:, :2] + boxes[:, 2:]) / 2
    layouts = {"xyxy": boxes, "cxcywh": np.concatenate([centre, sides], 1)}
    layout = next(
        (layouts[w] for w in words.split() if w in layouts),
        np.concatenate([boxes[:, :2], sides], 1),
    )
    return layout / np.tile([WIDTH, HEIGHT], 2) if "fraction" in words else layout


def write(folder: Path, boxes: np.ndarray, **others: Any) -> tuple[str, str]:
    """Write a file with one image; ``others`` are additional keys of the first annotation."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "images" / "a.png")
    annotations = [
        {"id": i, "image_id": 1, "category_id": 1, "bbox": box}
        for i, box in enumerate(boxes.tolist(), 1)
    ]
    annotations[0].update(others)
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "cell"}],
    }
    (folder / "annotations.json").write_text(json.dumps(content), encoding="utf-8")
    return str(folder / "annotations.json"), str(folder / "images")


def read(paths: tuple[str, str], words: str = "") -> np.ndarray:
    """Boxes (M, 4) XYXY as they are read."""
    return np.array(
        [a["bbox"] for a in read_coco(*paths, box_coordinates=words).records[0]["annotations"]]
    )


@pytest.mark.parametrize(
    "words", ["", "xyxy", "cxcywh", "fraction", "xyxy fraction", "cxcywh fraction"]
)
def test_coordinates_are_recognized_and_the_proposed_value_converts_them(
    tmp_path: Path, words: str
) -> None:
    boxes = some_boxes()
    paths = write(tmp_path, written_as(boxes, words))
    if words:
        with pytest.raises(DatasetError) as error:
            read(paths)
        assert (
            f"Set MODEL.RETINA_PLUGIN.DATASETS.BOX_COORDINATES to '{words}' to convert the boxes"
            in str(error.value)
        )
        assert paths[0] in str(error.value)
        assert "(first: annotation" in str(error.value)
    assert_close(read(paths, words), boxes)


@pytest.mark.parametrize("words", ["xywh", "pixels"])
def test_stated_coordinates_are_not_checked(tmp_path: Path, words: str) -> None:
    """Boxes that only look like other coordinates; here they are clipped or smaller than a
    pixel."""
    boxes = written_as(some_boxes(), "xyxy" if words == "xywh" else "fraction")
    assert len(read(write(tmp_path, boxes), words)) == len(boxes)


def outside(count: int, total: int = 24) -> np.ndarray:
    """[x, y, width, height], ``count`` of them 5 pixels beyond the right side."""
    boxes = written_as(some_boxes(total), "")
    boxes[:count, 2] = WIDTH + 5 - boxes[:count, 0]
    return boxes


@pytest.mark.parametrize(
    "boxes",
    [
        pytest.param(outside(0), id="inside"),
        pytest.param(outside(24), id="all outside, but not as corners"),
        pytest.param(outside(4), id="some outside"),
        pytest.param(np.array([[10.0, 10, 155, 30]] * 2), id="two that may be corners"),
        pytest.param(
            np.array([[50.0, 20, 60, 50]] * 40 + [[90.0, 60, 80, 62]] * 9),
            id="a few that may be corners",
        ),
        pytest.param(np.array([[100.0, 60, 65, 30]] * 4), id="four that may be centres"),
        pytest.param(
            np.array([[0.2, 0.2, 0.5, 0.5], [70, 70, 10, 10]]), id="one of less than a pixel"
        ),
        pytest.param(np.array([[0.0, 0, 0, 0], [70, 70, 10, 10]]), id="one without area"),
    ],
)
def test_boxes_that_have_another_explanation(tmp_path: Path, boxes: np.ndarray) -> None:
    assert len(read(write(tmp_path, boxes))) == len(boxes) - (boxes[0].max() == 0)


def test_boxes_of_one_pixel_in_tiny_images_are_not_fractions(tmp_path: Path) -> None:
    json_file, images = write(tmp_path, np.array([[0.0, 0, 1, 1]]))
    Image.new("RGB", (4, 4)).save(Path(images, "a.png"))
    content = json.loads(Path(json_file).read_text())
    content["images"][0].update(width=4, height=4)
    Path(json_file).write_text(json.dumps(content))
    assert read((json_file, images)).tolist() == [[0, 0, 1, 1]]


def test_stated_coordinates_must_fit_most_boxes(tmp_path: Path) -> None:
    """The key applies to all data sets of a run, of which one may differ."""
    paths = write(tmp_path, written_as(some_boxes(), ""))
    for words in ("xyxy", "fraction"):
        with pytest.raises(
            DatasetError,
            match=rf"as '{words}', as MODEL\S*BOX_COORDINATES says, "
            r"\d+ of 24 boxes have",
        ):
            read(paths, words)


def test_boxes_of_masks_do_not_count_as_corners(tmp_path: Path) -> None:
    boxes = some_boxes()
    x0, y0, x1, y1 = boxes[0]
    mask = {"bbox": [], "segmentation": [[x0, y0, x1, y0, x1, y1]]}
    assert_close(read(write(tmp_path, boxes, **mask), "xyxy"), boxes)


def test_every_combination_of_values() -> None:
    """The rule of the key and the reader accept the same values."""
    cfg = get_cfg()
    for choice in itertools.product(*(("", *words) for words in CHOICES.values())):
        text = " ".join(filter(None, choice))
        cfg.MODEL.RETINA_PLUGIN.DATASETS.BOX_COORDINATES = text
        check_rules(cfg)
        assert str(BoxCoordinates.parse(text)) == text
    for text in ("corners", "xyxy cxcywh", "xyxyfraction"):
        cfg.MODEL.RETINA_PLUGIN.DATASETS.BOX_COORDINATES = text
        with pytest.raises(ConfigError, match="BOX_COORDINATES: expected words such as"):
            check_rules(cfg)
        with pytest.raises(
            ValueError, match="expected at most one word each of: xywh or xyxy or cxcywh, pixels"
        ):
            use_box_coordinates(text)


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
def test_the_key_reaches_a_run_and_the_tools(
    tmp_path: Path, root: Path, host: str, capsys: pytest.CaptureFixture
) -> None:
    """A run refuses corners, trains and evaluates with the key, and the tools read it from
    config.yaml."""
    config = write_run(tmp_path, root)
    for part in ("train", "test"):
        path = tmp_path / part / "annotations.json"
        content = json.loads(path.read_text())
        for annotation in content["annotations"]:
            x, y, w, h = annotation["bbox"]
            annotation["bbox"] = [x, y, x + w, y + h]
        path.write_text(json.dumps(content))
    train_net, few = load_tool("train_net"), ["SOLVER.MAX_ITER", "1"]
    with pytest.raises(
        DatasetError,
        match=r"reach outside their image, as corners .* 0 "
        r".*BOX_COORDINATES to 'xyxy'",
    ):
        train_net.main(["--config-file", config, "--host", host, *few])
    key = ["MODEL.RETINA_PLUGIN.DATASETS.BOX_COORDINATES", "xyxy"]
    train_net.main(["--config-file", config, "--host", host, *few, *key])
    out, name = tmp_path / "out", f"{tmp_path}/test/annotations.json@{tmp_path}/test/images"
    corners = [a["bbox"] for a in content["annotations"] if a["image_id"] == 1]
    assert [a["bbox"] for a in load_dataset(name).records[0]["annotations"]] == corners
    train_net.main(
        [
            "--config-file",
            f"{out}/config.yaml",
            "--host",
            host,
            "--eval-only",
            "MODEL.WEIGHTS",
            f"{out}/model_final.pth",
        ]
    )
    use_box_coordinates("")
    results = [
        "--input",
        f"{out}/inference/coco_instances_results.json",
        "--output",
        str(tmp_path / "looked"),
    ]
    load_tool("visualize_json_results").main([*results, "--config-file", f"{out}/config.yaml"])
    use_box_coordinates("")
    pictures = ["--output-dir", str(tmp_path / "pictures"), "--max-images", "1", "--host", host]
    load_tool("visualize_data").main(["--dataset", name, *pictures, *key])
    use_box_coordinates("")
    load_tool("visualize_data").main(["--config-file", f"{out}/config.yaml", *pictures])
    use_box_coordinates("")
    load_tool("analyze_model").main(
        [
            "--config-file",
            f"{out}/config.yaml",
            "--size",
            "64",
            "64",
            "--repeats",
            "1",
            "MODEL.RETINANET.NUM_CLASSES",
            "-1",
        ]
    )
    assert "6 pictures in" in capsys.readouterr().out
